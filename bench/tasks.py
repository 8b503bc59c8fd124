"""Tasks of drawings made and asked for over HTTP, with `bench.load`."""

import json
import random
import statistics
from typing import Any
from urllib.parse import urlsplit

from bench.latency import BOUNDARY, multipart
from bench.load import apart, each, percentiles, request
from bench.pictures import NAMES, creation, picture, prediction


def port_of(url: str) -> int:
    """Of a server on this machine."""
    return urlsplit(url).port or 80


def make_tasks(url: str, number: int, clients: int = 4) -> list[str]:
    """Ids of new 5-way 1-shot tasks. Raises `RuntimeError` if one could not be made."""
    outcome = each(port_of(url), (creation(n % 8) for n in range(number)), clients, keep=True)
    if outcome.statuses != {"201": number}:
        raise RuntimeError(f"not all of {number} tasks were made: {outcome.statuses}")
    return [json.loads(body)["task_id"] for body in outcome.bodies]


def predict_each(url: str, tasks: list[str], times: int, clients: int = 8) -> dict[str, int]:
    """Every task so often, in random order; how often each status came, 0 where no answer did."""
    asked = tasks * times
    random.Random(0).shuffle(asked)
    return each(port_of(url), (prediction(task, n % 20) for n, task in enumerate(asked)), clients).statuses


def predict(
    url: str, tasks: list[str], clients: int, seconds: float, *, warm_up: float = 0.0, images: int = 1
) -> dict[str, Any]:
    """So many images a request, of tasks drawn at random: predictions a second and milliseconds after the warm-up.

    In a process of its own: `client_ms` is its processor time for a request. `took` holds what each took, in order.
    """
    forms = [multipart([picture(NAMES[(n + m) % 5], 1000 + m) for m in range(images)], []) for n in range(5)]
    asked = [request(f"/tasks/{task}/predict", form, BOUNDARY) for task in tasks for form in forms]
    random.Random(0).shuffle(asked)
    outcome, cpu = apart(port_of(url), asked, clients, seconds, warm_up)
    return {
        "clients": clients,
        "a_second": round(outcome.per_second, 1),
        "mean_ms": round(statistics.mean(outcome.accepted), 3),
        **percentiles(outcome.accepted),
        "statuses": outcome.statuses,
        "client_ms": round(1000 * cpu / sum(outcome.statuses.values()), 3),
        "took": outcome.accepted,
    }
