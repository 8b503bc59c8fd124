"""Clients that ask again as soon as they are answered, in a process of their own, as light as Python allows."""

import http.client
import itertools
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from bench.latency import BOUNDARY, multipart
from tests.drawn import CHARACTERS, png

FIVE = list(CHARACTERS)[:5]
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
SUPPORTS = [multipart([png(name, hand) for name in FIVE], FIVE) for hand in range(8)]
QUERIES = [multipart([png(name, 50 + n)], []) for n, name in enumerate(FIVE)]


class Connection:
    """One client; what breaks is counted under status 0 and the connection made anew."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._http = http.client.HTTPConnection(self._address, timeout=60)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body."""
        try:
            self._http.request("POST", path, body, FORM)
            answer = self._http.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            return 0, b""


def make_tasks(url: str, number: int, clients: int = 4) -> list[str]:
    """Ids of new 5-way 1-shot tasks."""
    made: list[str] = []

    def making(mine: int) -> None:
        connection = Connection(url)
        for n in range(mine, number, clients):
            status, body = connection.post("/tasks", SUPPORTS[n % len(SUPPORTS)])
            if status != 201:
                raise RuntimeError(f"a task could not be made: {status} {body!r}")
            made.append(json.loads(body)["task_id"])

    threads = [threading.Thread(target=making, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(made) != number:
        raise RuntimeError(f"{len(made)} of {number} tasks made")
    return made


def predict(
    url: str, tasks: list[str], clients: int, seconds: float, *, warm_up: float = 0.0, images: int = 1
) -> dict[str, Any]:
    """So many images each, of tasks drawn at random: requests a second, milliseconds and statuses after the warm-up.

    `cpu_ms` is what one request costs its client; `trace` holds what each took, in percent of their mean.
    """
    order = {"url": url, "tasks": tasks, "clients": clients, "seconds": seconds, "warm_up": warm_up, "images": images}
    done = subprocess.run(
        [sys.executable, "-m", "bench.clients"], input=json.dumps(order), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def predict_each(url: str, tasks: list[str], times: int, clients: int = 8) -> Counter[int]:
    """Every task so often, in random order; how often each status came."""
    statuses: Counter[int] = Counter()
    work = tasks * times
    random.Random(0).shuffle(work)

    def asking(mine: int) -> None:
        connection = Connection(url)
        for n in range(mine, len(work), clients):
            status, _ = connection.post(f"/tasks/{work[n]}/predict", QUERIES[n % 5])
            statuses[status] += 1

    threads = [threading.Thread(target=asking, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def _main(url: str, tasks: list[str], clients: int, seconds: float, warm_up: float, images: int) -> dict[str, Any]:
    queries = [multipart([png(FIVE[(n + m) % 5], 50 + m) for m in range(images)], []) for n in range(5)]
    began, cpu = time.perf_counter(), time.process_time()
    took: list[tuple[float, float]] = []  # when answered, seconds it took
    statuses: Counter[int] = Counter()

    def asking(mine: int) -> None:
        connection, choose = Connection(url), random.Random(mine)
        for n in itertools.count(mine):
            sent = time.perf_counter()
            if sent - began > warm_up + seconds:
                return
            status, _ = connection.post(f"/tasks/{choose.choice(tasks)}/predict", queries[n % 5])
            answered = time.perf_counter()
            if answered - began > warm_up:
                statuses[status] += 1
                took.append((answered, answered - sent))

    threads = [threading.Thread(target=asking, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    milliseconds = [1000 * one for _, one in took]
    mean = statistics.mean(milliseconds)
    return {
        "clients": clients,
        "a_second": round(len(took) / seconds, 1),
        **spread(milliseconds),
        "statuses": dict(statuses),
        "cpu_ms": round(1000 * (time.process_time() - cpu) / (len(took) * (warm_up + seconds) / seconds), 3),
        "trace": " ".join(f"{100 * one / mean:.0f}" for one in milliseconds),
    }


def spread(milliseconds: list[float]) -> dict[str, float]:
    """p50, p90, p99 and mean."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return {
        "mean_ms": round(statistics.mean(milliseconds), 2),
        "p50_ms": round(cuts[49], 2),
        "p90_ms": round(cuts[89], 2),
        "p99_ms": round(cuts[98], 2),
    }


if __name__ == "__main__":
    print(json.dumps(_main(**json.load(sys.stdin))))
