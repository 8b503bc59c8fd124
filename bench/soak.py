"""Memory and errors over a long time at 70 % of what the server can do; into bench/results/soak.json.

One creation to nine other calls: predictions mostly, and more examples, a list, both exports; tasks live a minute.
What the server can do is found out anew every five minutes, since machines are shared. The slope is a least-squares
line through resident memory after the first fifth of the time, in which caches fill.

The whole of it may be stopped and continued (SIGSTOP, SIGCONT): such pauses are told apart and not counted as time,
and a request whose task saw one may fail without being counted as an error.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.latency import RESULTS
from bench.processes import resident
from model.evaluation.card import machine, today
from tests.e2e.conftest import Server
from tests.helpers.drawn import CHARACTERS, png

CLIENTS, FIND_OUT, ROUND, SAMPLE_EVERY = 4, 10.0, 300.0, 2.0  # threads; seconds
PAUSED = 5 * SAMPLE_EVERY  # a sample that comes so late says that everything stood still
FIVE = list(CHARACTERS)[:5]


@dataclass
class Failure:
    """What went wrong, when, and since when its task lived: by the monotonic clock."""

    since: float
    at: float
    what: str


class Traffic:
    """Clients in threads, at full speed or paced; counts what came of it."""

    def __init__(self, url: str) -> None:
        self.url, self.done = url, Counter[str]()
        self.failed: list[Failure] = []
        self.support = [[("images", (name, png(name, hand), "image/png")) for name in FIVE] for hand in range(20)]
        self.queries = [[("images", ("q", png(name, 50 + n), "image/png"))] for n, name in enumerate(FIVE)]

    def _call(self, client: httpx.Client, n: int, task_id: str) -> tuple[str, httpx.Response]:
        task = f"/tasks/{task_id}"
        match n % 10:
            case 0:
                form = {"labels": FIVE, "ttl_seconds": "60"}
                return "create", client.post("/tasks", data=form, files=self.support[n // 10 % 20])
            case 3:
                return "support", client.post(f"{task}/support", data={"labels": FIVE[:1]}, files=self.queries[0])
            case 5:
                return "list", client.get("/tasks", params={"limit": 20})
            case 7:
                return "parameters", client.get(f"{task}/parameters")
            case 9 if n % 100 == 99:
                return "onnx", client.get(f"{task}/export.onnx")
        return "predict", client.post(f"{task}/predict", files=self.queries[n % 5])

    def _client(self, until: float, pause: float, wait: threading.Event) -> None:
        task_id, since = "", time.monotonic()
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for n in itertools.count():
                began = time.monotonic()
                if began > until:
                    return
                if n % 10 == 0:
                    since = began
                try:
                    kind, answer = self._call(client, n, task_id)
                    if n % 10 == 0:
                        task_id = answer.json().get("task_id", "")
                    self.done[kind] += 1
                    if answer.status_code not in (200, 201):
                        self.failed.append(Failure(since, time.monotonic(), f"{answer.status_code} {answer.text}"))
                except httpx.TransportError as error:
                    self.failed.append(Failure(since, time.monotonic(), repr(error)))
                wait.wait(max(0.0, pause - (time.monotonic() - began)))

    def run(self, seconds: float, per_second: float | None = None) -> float:
        """For so long; returns the requests a second that were answered."""
        before, began, never = self.done.total(), time.monotonic(), threading.Event()
        pause = CLIENTS / per_second if per_second else 0.0
        with ThreadPoolExecutor(CLIENTS) as pool:
            for one in [pool.submit(self._client, began + seconds, pause, never) for _ in range(CLIENTS)]:
                one.result()
        return (self.done.total() - before) / (time.monotonic() - began)


class Memory:
    """Resident memory of a process by minutes in which it ran, sampled in a thread, and when all stood still."""

    def __init__(self, process_id: int) -> None:
        self._process_id, self._over = process_id, threading.Event()
        self.samples: list[tuple[float, float]] = []  # active minutes, MB
        self.pauses: list[tuple[float, float]] = []  # from, to
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        active, last = 0.0, time.monotonic()
        while not self._over.wait(SAMPLE_EVERY):
            now = time.monotonic()
            if now - last > PAUSED:
                self.pauses.append((last, now))
            else:
                active += now - last
            last = now
            self.samples.append((active / 60, resident(self._process_id)))

    @property
    def minutes(self) -> float:
        """Active ones, so far."""
        return self.samples[-1][0] if self.samples else 0.0

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def slope(self) -> float:
        """MB a minute."""
        settled = np.array(self.samples[len(self.samples) // 5 :])
        return float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])

    def saw_a_pause(self, failure: Failure) -> bool:
        return any(start < failure.at and failure.since < end for start, end in self.pauses)


def soak(minutes: float) -> dict[str, Any]:
    """Rounds of ten seconds at full speed and the rest at 70 % of it, until so many active minutes are over."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", LEO_LOG_FORMAT="json")
        try:
            server.start()
            began, traffic, memory = time.monotonic(), Traffic(server.url), Memory(server.process_id)
            most, held = [], []
            while (left := 60 * (minutes - memory.minutes)) > 0:
                most.append(traffic.run(FIND_OUT))
                held.append(traffic.run(max(FIND_OUT, min(left, ROUND) - FIND_OUT), 0.7 * most[-1]))
            memory.close()
            tracebacks = server.log.read_text().count("Traceback")
        finally:
            server.close()
    counted = [failure for failure in traffic.failed if not memory.saw_a_pause(failure)]
    return {
        "wall_minutes": round((time.monotonic() - began) / 60, 1),
        "active_minutes": round(memory.minutes, 1),
        "pauses": len(memory.pauses),
        "requests": dict(traffic.done) | {"all": traffic.done.total()},
        "failed": len(counted),
        "failures": [failure.what for failure in counted[:5]],
        "failed_over_a_pause": len(traffic.failed) - len(counted),
        "tracebacks_in_the_log": tracebacks,
        "requests_a_second": {"most": round(statistics.mean(most), 1), "held": round(statistics.mean(held), 1)},
        "resident_mb_by_tenths": [round(memory.samples[n * (len(memory.samples) - 1) // 10][1], 1) for n in range(11)],
        "slope_mb_a_minute": round(memory.slope(), 3),
    }


def main() -> None:
    """Soak; fail on an error or on over 1 MB a minute."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="in which it really runs")
    counts = soak(parser.parse_args().minutes)
    written = {"what": "one server, CPU, embedded store", "date": today(), "machine": machine(), **counts}
    (RESULTS / "soak.json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(counts, indent=2))
    sys.exit(1 if counts["failed"] or counts["tracebacks_in_the_log"] or counts["slope_mb_a_minute"] > 1 else 0)


if __name__ == "__main__":
    main()
