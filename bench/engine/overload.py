"""Twice what is sustainable."""

import itertools
import time
from typing import Any

from bench.engine.service import CLIENTS, Service
from bench.load import Outcome, closed, open_loop, percentiles
from bench.pictures import prediction


def overload(model: str, seconds: float = 60.0) -> dict[str, Any]:
    """Unloaded, then twice what is sustainable, then, a second later, as many clients as before."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        turns = itertools.cycle(requests)
        most = service.load(requests, CLIENTS, 4.0)["per_second"]
        unloaded = open_loop(service.port, turns.__next__, most / 10, 8.0)
        memory = [service.resident_mb()]
        parts: list[Outcome] = []
        for _ in range(int(seconds // 15)):
            parts.append(open_loop(service.port, turns.__next__, 2 * most, 15.0))
            memory.append(service.resident_mb())
        time.sleep(1.0)
        after = closed(service.port, turns.__next__, CLIENTS, 1.0)
    accepted = [took for part in parts for took in part.accepted]
    refused = [took for part in parts for status, times in part.milliseconds.items() if status >= 400 for took in times]
    return {
        "sustainable_per_second": most,
        "asked_per_second": round(2 * most, 1),
        "seconds": seconds,
        "unloaded": percentiles(unloaded.accepted),
        "accepted": {"per_second": round(len(accepted) / seconds, 1), **percentiles(accepted)},
        "refused": {"per_second": round(len(refused) / seconds, 1), **percentiles(refused)},
        "unanswered": sum(len(part.milliseconds.get(0, [])) for part in parts),
        "resident_mb": memory,
        "per_second_one_second_after": round(after.per_second, 1),
    }
