"""What becomes of accepted and refused requests at twice the load that the service sustains."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from app.cli.load import closed_loop, percentiles
from bench.load import open_loop
from bench.requests import prediction
from bench.service import CLIENTS, Service, resident_mb


def overload(model: str, seconds: float = 60.0) -> dict[str, Any]:
    """A tenth of the sustainable load, then twice of it, then, a second later, 32 clients as before."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        turns = itertools.cycle(requests)
        most = service.load(requests, CLIENTS, 4.0)["per_second"]
        unloaded = open_loop(service.url, turns, most / 10, 8.0)
        memory = [resident_mb(service.process_id)]
        with ThreadPoolExecutor(1) as pool:
            under_load = pool.submit(open_loop, service.url, turns, 2 * most, seconds)
            while not under_load.done():
                wait([under_load], timeout=seconds / 4)
                memory.append(resident_mb(service.process_id))
        loaded = under_load.result()
        time.sleep(1.0)
        after = closed_loop(service.url, turns, CLIENTS, 1.0)
    refused = [took for status, times in loaded.milliseconds.items() if status >= 400 for took in times]
    return {
        "sustainable_per_second": most,
        "asked_per_second": round(2 * most, 1),
        "seconds": seconds,
        "unloaded": percentiles(unloaded.accepted),
        "accepted": {"per_second": round(loaded.per_second, 1), **percentiles(loaded.accepted)},
        "refused": {"per_second": round(len(refused) / seconds, 1), **percentiles(refused)},
        "unanswered": loaded.statuses.get("0", 0),
        "resident_mb": memory,
        "per_second_one_second_after": round(after.per_second, 1),
    }
