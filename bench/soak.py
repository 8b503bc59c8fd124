"""Memory and errors over a long time at 70 % of what the server can do; writes bench/results/soak.json.

One creation to nine other calls: predictions mostly, and more examples, a list, both exports; tasks live a minute.
What the server can do is measured anew every five minutes, because machines are shared. The slope is a least-squares
line through the memory that the service holds itself, after the first fifth of the time, in which caches fill.
"""

import argparse
import itertools
import json
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from app.cli.load import FORM, multipart
from bench.common import write_results
from bench.requests import NAMES, picture, query
from bench.service import OWN_MEMORY, Service, resident_mb

CLIENTS, FULL_SPEED, ROUND, SAMPLE_EVERY = 4, 10.0, 300.0, 2.0  # threads; seconds


class Traffic:
    """Clients in threads, at full speed or paced; counts calls and keeps what failed."""

    def __init__(self, url: str) -> None:
        self.url, self.done = url, Counter[str]()
        self.failed: list[str] = []

    def run(self, seconds: float, per_second: float | None = None) -> float:
        """Ask for some time; returns the requests a second that were answered."""
        before, began = self.done.total(), time.monotonic()
        pause = CLIENTS / per_second if per_second else 0.0
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._client, [began + seconds] * CLIENTS, [pause] * CLIENTS))
        return (self.done.total() - before) / (time.monotonic() - began)

    def _client(self, until: float, pause: float) -> None:
        task = ""
        with httpx.Client(base_url=self.url, timeout=60, headers={"Content-Type": FORM}) as client:
            for n in itertools.count():
                began = time.monotonic()
                if began > until:
                    return
                try:
                    kind, answer = self._call(client, n, f"/tasks/{task}")
                    if kind == "create":
                        task = answer.json().get("task_id", "")
                    self.done[kind] += 1
                    if not answer.is_success:
                        self.failed.append(f"{answer.status_code} {answer.text}")
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                time.sleep(max(0.0, pause - (time.monotonic() - began)))

    def _call(self, client: httpx.Client, n: int, task: str) -> tuple[str, httpx.Response]:
        match n % 10:
            case 0:
                form = multipart([picture(name, n // 10 % 20) for name in NAMES], NAMES, {"ttl_seconds": "60"})
                return "create", client.post("/tasks", content=form)
            case 3:
                return "support", client.post(f"{task}/support", content=multipart([query(0)], NAMES[:1]))
            case 5:
                return "list", client.get("/tasks", params={"limit": 20})
            case 7:
                return "parameters", client.get(f"{task}/parameters")
            case 9 if n % 100 == 99:
                return "onnx", client.get(f"{task}/export.onnx")
        return "predict", client.post(f"{task}/predict", content=multipart([query(n % 5)]))


def soak(minutes: float) -> dict[str, object]:
    """Rounds of ten seconds at full speed and the rest at 70 % of it."""
    memory: list[tuple[float, float]] = []  # minutes, MB
    most, held = [], []
    with Service(LEO_LOG_FORMAT="json") as service, ThreadPoolExecutor(1) as pool:
        began, over, traffic = time.monotonic(), threading.Event(), Traffic(service.url)

        def sample() -> None:
            while not over.wait(SAMPLE_EVERY):
                memory.append(((time.monotonic() - began) / 60, resident_mb(service.process_id, OWN_MEMORY)))

        sampling = pool.submit(sample)
        while (left := 60 * minutes - (time.monotonic() - began)) > 0:
            most.append(traffic.run(FULL_SPEED))
            held.append(traffic.run(max(FULL_SPEED, min(left, ROUND) - FULL_SPEED), 0.7 * most[-1]))
        over.set()
        sampling.result()
        tracebacks = service.log.read_text().count("Traceback")
    settled = np.array(memory[len(memory) // 5 :])
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "requests": dict(traffic.done) | {"all": traffic.done.total()},
        "failed": len(traffic.failed),
        "failures": traffic.failed[:5],
        "tracebacks_in_the_log": tracebacks,
        "requests_a_second": {"most": round(statistics.mean(most), 1), "held": round(statistics.mean(held), 1)},
        "resident_mb_by_tenths": [round(memory[n * (len(memory) - 1) // 10][1], 1) for n in range(11)],
        "slope_mb_a_minute": round(float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]), 3),
    }


def main() -> None:
    """Soak; fail on an error or on over 1 MB a minute."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    counts = soak(parser.parse_args().minutes)
    write_results("soak", "one server, CPU, embedded store", **counts)
    print(json.dumps(counts, indent=2))
    sys.exit(bool(counts["failed"] or counts["tracebacks_in_the_log"] or float(str(counts["slope_mb_a_minute"])) > 1))


if __name__ == "__main__":
    main()
