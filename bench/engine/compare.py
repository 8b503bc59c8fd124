"""Bare HTTP, a plain FastAPI handler, LitServe and ours, one after the other under the same load generator."""

from typing import Any

from bench.engine.service import CLIENTS, SECONDS, Service
from bench.pictures import creation, litserve_prediction, prediction


def compare(model: str) -> dict[str, Any]:
    """Each under 1 and 32 clients, and under random arrivals at 70 % of what it did with 32.

    `together`: a process for each core, as ours has by itself.
    """
    found: dict[str, Any] = {}
    for what in ("bare", "bare_together", "plain", "litserve", "litserve_together", "ours_alone", "ours"):
        settings = {"LEO_WORKERS": "1"} if what == "ours_alone" else {}
        with Service(what.removesuffix("_alone"), model, **settings) as service:
            if what.startswith("litserve"):
                asked = {"predict": [litserve_prediction(n % 5, n) for n in range(40)]}
            else:
                tasks = [service.created(hand) for hand in range(5)]
                asked = {
                    "predict": [prediction(tasks[n % 5], n) for n in range(40)],
                    "create": [creation(n) for n in range(40)],
                }
            found[what] = {}
            for name, requests in asked.items():
                many = service.load(requests, CLIENTS)
                found[what][name] = {
                    "clients_32": many,
                    "clients_1": service.load(requests, 1, SECONDS / 2),
                    "open_loop": service.load_open(requests, 0.7 * many["per_second"], SECONDS / 2),
                }
                print(model, what, name, many, flush=True)
    return found
