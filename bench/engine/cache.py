"""Throughput over 10,000 tasks at random beside that over 5: what the task cache is worth."""

import itertools
import random
import statistics
from collections.abc import Iterator
from typing import Any

from app.cli.load import closed_loop
from app.settings import Settings
from bench.requests import prediction
from bench.service import CLIENTS, WARM_UP, Service, metrics, resident_mb
from bench.tasks import make_tasks

TASKS, ROUNDS = 10_000, 7
LOOKUPS = "leo_cache_lookups_total"


def cache(model: str) -> dict[str, Any]:
    """Predictions a second over 5 and over 10,000 tasks, with the cache at its default size and at a tenth."""
    found: dict[str, Any] = {}
    default = Settings.model_fields["cache_bytes"].default
    for name, size in (("default", default), ("a_tenth", default // 10)):
        with Service("ours", model, LEO_CACHE_BYTES=str(size)) as service:
            tasks = make_tasks(service.url, TASKS, CLIENTS)
            rates: dict[int, list[float]] = {5: [], TASKS: []}
            ask_until_known(service, tasks)
            for _ in range(ROUNDS):  # taking turns, because the machine's own speed changes
                for number, measured in rates.items():
                    requests = predictions(tasks[:number])
                    closed_loop(service.url, requests, CLIENTS, WARM_UP)
                    measured.append(round(closed_loop(service.url, requests, CLIENTS, 4.0).per_second, 1))
            found[name] = {
                "cache_bytes": size,
                "per_second_by_tasks": {str(number): measured for number, measured in rates.items()},
                "share": round(statistics.median(many / few for few, many in zip(*rates.values(), strict=True)), 3),
                "lookups": lookups(service),
                "resident_mb": resident_mb(service.process_id),
            }
            print(model, "cache", name, found[name], flush=True)
    return found


def ask_until_known(service: Service, tasks: list[str]) -> None:
    """Ask until every worker has read nearly every task, as first reads are not what is measured."""
    for _ in range(40):
        before = lookups(service)
        closed_loop(service.url, predictions(tasks), CLIENTS, 5.0)
        seen = {result: count - before.get(result, 0) for result, count in lookups(service).items()}
        if seen["miss"] < 0.01 * sum(seen.values()):
            return


def lookups(service: Service) -> dict[str, float]:
    """How many lookups in the cache had each result, such as a hit."""
    seen = metrics(service.url).items()
    return {name.rpartition("/")[2]: value for name, value in seen if name.startswith(LOOKUPS)}


def predictions(tasks: list[str]) -> Iterator[bytes]:
    """Requests of tasks drawn at random, without end."""
    return (prediction(random.choice(tasks), random.randrange(40)) for _ in itertools.count())
