"""Memory and errors over a long time at 70 % of what the server can do; into bench/results/soak.json.

One creation to nine predictions, tasks that live a minute. The slope is a least-squares line through resident memory
after the first fifth of the time, in which caches fill.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

from bench.latency import RESULTS
from model.card import machine, today
from tests.drawn import CHARACTERS, png
from tests.e2e.conftest import Server

CLIENTS, FIND_OUT, SAMPLE_EVERY = 4, 10.0, 2.0  # threads; seconds at full speed first; seconds
FIVE = list(CHARACTERS)[:5]


class Traffic:
    """Clients in threads, at full speed or paced; counts what came of it."""

    def __init__(self, url: str) -> None:
        self.url, self.done, self.failed = url, 0, 0
        self.support = [[("images", (name, png(name, hand), "image/png")) for name in FIVE] for hand in range(20)]
        self.queries = [[("images", ("q", png(name, 50 + n), "image/png"))] for n, name in enumerate(FIVE)]

    def _client(self, until: float, pause: float, wait: threading.Event) -> None:
        task_id = ""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for n in itertools.count():
                began = time.monotonic()
                if began > until:
                    return
                if n % 10 == 0:
                    form = {"labels": FIVE, "ttl_seconds": "60"}
                    answer = client.post("/tasks", data=form, files=self.support[n // 10 % 20])
                    task_id = answer.json().get("task_id", "")
                else:
                    answer = client.post(f"/tasks/{task_id}/predict", files=self.queries[n % 5])
                self.done += 1
                self.failed += answer.status_code not in (200, 201)
                wait.wait(max(0.0, pause - (time.monotonic() - began)))

    def run(self, seconds: float, per_second: float | None = None) -> float:
        """For so long; returns the requests a second that were answered."""
        before, until, never = self.done, time.monotonic() + seconds, threading.Event()
        pause = CLIENTS / per_second if per_second else 0.0
        with ThreadPoolExecutor(CLIENTS) as pool:
            for one in [pool.submit(self._client, until, pause, never) for _ in range(CLIENTS)]:
                one.result()
        return (self.done - before) / seconds


def resident(process_id: int) -> float:
    """MB."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def main() -> None:
    """Soak; fail on an error or on over 1 MB a minute."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    given = parser.parse_args()
    samples: list[tuple[float, float]] = []  # minutes, MB
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data")
        try:
            server.start()
            traffic, over = Traffic(server.url), threading.Event()
            most = traffic.run(FIND_OUT)
            began = time.monotonic()

            def sample() -> None:
                while not over.wait(SAMPLE_EVERY):
                    samples.append(((time.monotonic() - began) / 60, resident(server.process_id)))

            sampling = threading.Thread(target=sample)
            sampling.start()
            held = traffic.run(60 * given.minutes, 0.7 * most)
            over.set()
            sampling.join()
        finally:
            server.close()
    settled = np.array(samples[len(samples) // 5 :])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])
    counts = {
        "minutes": given.minutes,
        "requests": traffic.done,
        "failed": traffic.failed,
        "requests_a_second": {"most": round(most, 1), "held": round(held, 1)},
        "resident_mb": {"first": round(samples[0][1], 1), "last": round(samples[-1][1], 1)},
        "slope_mb_a_minute": round(slope, 3),
    }
    written = {"what": "one server, CPU, embedded store", "date": today(), "machine": machine(), **counts}
    (RESULTS / "soak.json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(counts, indent=2))
    sys.exit(1 if traffic.failed or slope > 1 else 0)


if __name__ == "__main__":
    main()
