"""10,000 tasks at random beside 5."""

import itertools
import json
import random
import statistics
from functools import partial
from typing import Any

from app.settings import Settings
from bench.engine.service import CLIENTS, WARM_UP, Service
from bench.load import closed
from bench.pictures import creation, prediction

TASKS, ROUNDS = 10_000, 7


def cache(model: str) -> dict[str, Any]:
    """Predictions a second over 5 tasks and over 10,000 at random, the cache at its default size and at a tenth."""
    found: dict[str, Any] = {}
    default = Settings.model_fields["cache_bytes"].default
    for name, size in (("default", default), ("a_tenth", default // 10)):
        with Service("ours", model, LEO_CACHE_BYTES=str(size)) as service:
            made = itertools.cycle([creation(n) for n in range(40)])
            ids: list[str] = []
            while len(ids) < TASKS:
                bodies = closed(service.port, made.__next__, CLIENTS, 5.0, keep=True).bodies
                ids += [json.loads(body)["task_id"] for body in bodies]
            ids = ids[:TASKS]
            rates: dict[str, list[float]] = {"5": [], str(TASKS): []}
            meet(service, ids)
            for _ in range(ROUNDS):  # turn about: the machine's own speed changes
                for which in rates:
                    ask = partial(_of_one, ids[:5] if which == "5" else ids)
                    closed(service.port, ask, CLIENTS, WARM_UP)
                    rates[which].append(round(closed(service.port, ask, CLIENTS, 4.0).per_second, 1))
            found[name] = {
                "cache_bytes": size,
                "per_second_by_tasks": rates,
                "share": round(statistics.median(many / few for few, many in zip(*rates.values(), strict=True)), 3),
                "lookups": service.samples("leo_cache_lookups_total"),
                "resident_mb": service.resident_mb(),
            }
            print(model, "cache", name, found[name], flush=True)
    return found


def meet(service: Service, ids: list[str]) -> None:
    """Until every worker has met nearly every task: their first look at each is not what is asked here."""
    for _ in range(40):
        before = service.samples("leo_cache_lookups_total")
        closed(service.port, partial(_of_one, ids), CLIENTS, 5.0)
        found = {
            name: count - before.get(name, 0) for name, count in service.samples("leo_cache_lookups_total").items()
        }
        if found['leo_cache_lookups_total{result="miss"}'] < 0.01 * sum(found.values()):
            return


def _of_one(tasks: list[str]) -> bytes:
    return prediction(random.choice(tasks), random.randrange(40))
