"""Bare HTTP, a plain FastAPI handler, LitServe and this service, one after the other under the same load."""

from typing import Any

from bench.requests import creation, litserve_prediction, prediction
from bench.service import CLIENTS, SECONDS, Service


def compare(model: str) -> dict[str, Any]:
    """Each under 1 and 32 clients, and under random arrivals at 70 % of what it did with 32.

    `together`: a process for each core, which `ours` has by default; `ours_alone` has one.
    """
    found: dict[str, Any] = {}
    for server in ("bare", "bare_together", "plain", "litserve", "litserve_together", "ours_alone", "ours"):
        settings = {"LEO_WORKERS": "1"} if server == "ours_alone" else {}
        with Service(server.removesuffix("_alone"), model, **settings) as service:
            if server.startswith("litserve"):
                requests = {"predict": [litserve_prediction(n % 5, n) for n in range(40)]}
            else:
                tasks = [service.created(hand) for hand in range(5)]
                requests = {
                    "predict": [prediction(tasks[n % 5], n) for n in range(40)],
                    "create": [creation(n) for n in range(40)],
                }
            found[server] = {}
            for call, several in requests.items():
                many = service.load(several, CLIENTS)
                found[server][call] = {
                    "clients_32": many,
                    "clients_1": service.load(several, 1, SECONDS / 2),
                    "open_loop": service.load_open(several, 0.7 * many["per_second"], SECONDS / 2),
                }
                print(model, server, call, many, flush=True)
    return found
