"""Creates tasks of drawings over HTTP and asks them, for benchmarks."""

import json
import random
import statistics
from typing import Any

from app.cli.load import percentiles
from bench.load import closed_loop_apart, send_each
from bench.requests import creation, prediction


def make_tasks(url: str, number: int, clients: int = 4) -> list[str]:
    """Ids of new 5-way 1-shot tasks. Raises `RuntimeError` if one could not be made."""
    load = send_each(url, [creation(n % 8) for n in range(number)], clients, keep=True)
    if load.statuses != {"201": number}:
        raise RuntimeError(f"not all of {number} tasks were made: {load.statuses}")
    return [json.loads(body)["task_id"] for _, body in load.answers]


def predict_each(url: str, tasks: list[str], times: int, clients: int = 8) -> dict[str, int]:
    """Ask every task `times` times, in random order; how often each status came, 0 where no answer did."""
    asked = tasks * times
    random.Random(0).shuffle(asked)
    return send_each(url, [prediction(task, n % 20) for n, task in enumerate(asked)], clients).statuses


def predict(
    url: str, tasks: list[str], clients: int, seconds: float, *, warm_up: float = 0.0, images: int = 1
) -> dict[str, Any]:
    """Predictions of tasks drawn at random, `images` in each: how many a second, and milliseconds after the warm-up.

    The clients run in another process; `client_ms` is its processor time for a request. `took` holds every time.
    """
    requests = [prediction(task, hand, images) for task in tasks for hand in range(5)]
    random.Random(0).shuffle(requests)
    load, cpu = closed_loop_apart(url, requests, clients, seconds, warm_up)
    return {
        "clients": clients,
        "a_second": round(load.per_second, 1),
        "mean_ms": round(statistics.mean(load.accepted), 3),
        **percentiles(load.accepted),
        "statuses": load.statuses,
        "client_ms": round(1000 * cpu / sum(load.statuses.values()), 3),
        "took": load.accepted,
    }
