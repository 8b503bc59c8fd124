"""What becomes of requests where clients ask for more than the service can do: many of them, or one that is greedy.

The many are `h2load`'s (Debian's package nghttp2-client), a generator that leaves the cores to the service.

The targets, on two cores: 64 and 256 clients get 90 % of what 16 do; at two and four times the sustainable load 85 % of
it is accepted, accepted requests take at most four times as long at p99 as unloaded ones, and refusals 20 ms; beside a
greedy key another one's p99 at most doubles.
"""

import itertools
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from app.cli.load import Load, closed_loop, form_request, multipart, percentiles
from app.http.keys import KeyFile, new_key, write_keys
from bench.load import closed_loop_apart, open_loop, steady_clients
from bench.requests import NAMES, picture, prediction, query
from bench.service import CLIENTS, Service, resident_mb

PATIENT_CLIENTS = (16, 64, 256)  # that send the next request when the last one is answered
TIMES_SUSTAINABLE = (2, 4)
UNLOADED_CLIENTS = 64
POLITE_PER_SECOND = 60.0
GREEDY_CLIENTS, LARGE_CLIENTS, LARGE_IMAGES = 200, 4, 1000


def overload(model: str, seconds: float = 60.0) -> dict[str, Any]:
    """Clients that wait for their answers; a tenth of the sustainable load; two and four times of it; two keys."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        turns = itertools.cycle(requests)
        most = service.load(requests, CLIENTS, 4.0)["per_second"]
        patient = {f"clients_{n}": closed_loop(service.url, turns, n, 6.0).summary() for n in PATIENT_CLIENTS}
        unloaded, _ = steady_clients(service.url, requests[0], most / 10, 8.0, UNLOADED_CLIENTS)
        loaded = {f"times_{n}": _overloaded(service, requests[0], n * most, seconds) for n in TIMES_SUSTAINABLE}
        time.sleep(1.0)
        after = closed_loop(service.url, turns, CLIENTS, 1.0)
    return {
        "sustainable_per_second": most,
        "seconds": seconds,
        **patient,
        "unloaded": percentiles(unloaded.accepted),
        **loaded,
        "per_second_one_second_after": round(after.per_second, 1),
        "two_keys": two_keys(model),
    }


def _overloaded(service: Service, request: bytes, per_second: float, seconds: float) -> dict[str, Any]:
    memory = [resident_mb(service.process_id)]
    with ThreadPoolExecutor(1) as pool:
        under_load = pool.submit(steady_clients, service.url, request, per_second, seconds)
        while not under_load.done():
            wait([under_load], timeout=seconds / 4)
            memory.append(resident_mb(service.process_id))
    loaded, asked_per_second = under_load.result()
    refused = [took for status, times in loaded.milliseconds.items() if status >= 400 for took in times]
    return {
        "asked_per_second": round(asked_per_second, 1),
        "accepted": {"per_second": round(loaded.per_second, 1), **percentiles(loaded.accepted)},
        "refused": {"per_second": round(len(refused) / loaded.seconds, 1), **percentiles(refused)},
        "unanswered": loaded.statuses.get("0", 0),
        "resident_mb": memory,
    }


def two_keys(model: str, seconds: float = 10.0) -> dict[str, Any]:
    """A polite key's predictions alone and beside a greedy one, taking turns."""
    made = {name: new_key(name, name, ["read", "write"]) for name in ("polite", "greedy")}
    keys = {name: presented for name, (_, presented) in made.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        write_keys(path, KeyFile(keys=[stored for stored, _ in made.values()]))
        with Service("ours", model, LEO_KEYS_FILE=str(path)) as service:

            def request(name: str, path: str, form: bytes) -> bytes:
                return form_request(path, form, headers={"X-API-Key": keys[name]})

            def predictions(name: str, images: int, count: int) -> list[bytes]:
                form = multipart([picture(one, 0) for one in NAMES], NAMES)
                ((_, body),) = closed_loop(
                    service.url, iter([request(name, "/tasks", form)]), 1, 60.0, keep=True
                ).answers
                task = f"/tasks/{json.loads(body)['task_id']}/predict"
                return [
                    request(name, task, multipart([query(n + image) for image in range(images)])) for n in range(count)
                ]

            creation = request("greedy", "/tasks", multipart([picture(one, 0) for one in NAMES], NAMES))
            closed_loop(service.url, iter([creation] * 100), 4, 60.0)
            polite = itertools.cycle(predictions("polite", 1, 40))
            listing = f"GET /tasks?limit=100 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {keys['greedy']}\r\n\r\n"
            greedy: dict[str, tuple[list[bytes], int]] = {
                "predictions": (predictions("greedy", 1, 40), GREEDY_CLIENTS),
                "large_predictions": (predictions("greedy", LARGE_IMAGES, 1), LARGE_CLIENTS),
                "listings": ([listing.encode()], 64),
            }

            def ask() -> Load:
                return open_loop(service.url, polite, POLITE_PER_SECOND, seconds)

            ask()
            found: dict[str, Any] = {}
            for name, (requests, clients) in greedy.items():
                alone = ask()
                with ThreadPoolExecutor(1) as pool:
                    flood = pool.submit(closed_loop_apart, service.url, requests, clients, seconds + 4, 1.0)
                    time.sleep(4.0)  # until the other process has started and the queue stands
                    beside = ask()
                p99 = [percentiles(load.accepted)["p99_ms"] for load in (alone, beside)]
                found[f"beside_{clients}_of_{name}"] = {
                    "alone": alone.summary(),
                    "beside": beside.summary(),
                    "greedy": flood.result()[0].summary(),
                    "p99_ratio": round(p99[1] / p99[0], 2),
                }
    return found
