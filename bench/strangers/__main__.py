"""Every kind of hostile caller, one after the other, beside eight polite clients; writes bench/results/strangers.json.

The event loop of each worker has a heartbeat of 10 ms. What counts is how late it was, and whether any polite client
was answered with a 5xx.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.cli.load import FORM, percentiles
from bench.common import write_results
from bench.requests import prediction
from bench.strangers.attacks import ATTACKERS, ATTACKS, pictures_to_refuse
from bench.strangers.target import WORKERS, Target
from tests.helpers import heartbeat
from tests.helpers.workers import wait_for_workers

POLITE = 8
LATE, WORST_ALLOWED = 0.999, 0.1  # the share of heartbeats, and by how many seconds these may be late


class Polite:
    """Eight clients that predict without a pause until they are told to stop."""

    def __init__(self, target: Target, task: str) -> None:
        self._target, self._task = target, task
        self._over = threading.Event()
        self.times: list[float] = []  # milliseconds of answers
        self.statuses: Counter[int] = Counter()

    def _ask(self, client_number: int) -> None:
        body = prediction(self._task, client_number).partition(b"\r\n\r\n")[2]
        with self._target.client("polite") as client:
            while not self._over.is_set():
                began = time.perf_counter()
                try:
                    answer = client.post(f"/tasks/{self._task}/predict", content=body, headers={"Content-Type": FORM})
                except httpx.TransportError:  # its worker was killed
                    self.statuses[0] += 1
                    continue
                self.statuses[answer.status_code] += 1
                self.times.append(1000 * (time.perf_counter() - began))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask as long as the block lasts."""
        with ThreadPoolExecutor(POLITE) as pool:
            asking = [pool.submit(self._ask, n) for n in range(POLITE)]
            try:
                yield
            finally:
                self._over.set()
            for one in asking:
                one.result()


def lateness(delays: list[float]) -> dict[str, float]:
    """Percentiles of the heartbeats' delays, in milliseconds."""
    cuts = np.quantile(delays, [0.5, 0.99, LATE, 1.0]) * 1000
    return dict(zip(("p50_ms", "p99_ms", "p99_9_ms", "max_ms"), np.round(cuts, 2).tolist(), strict=True))


def beside_polite_clients(
    target: Target, attack: Callable[[Target, str], None] | None, seconds: float
) -> dict[str, Any]:
    """Make one kind of attempt again and again, by all its callers, and say what the others noticed."""
    polite = Polite(target, target.created("polite"))
    task, until = target.created("hostile"), time.monotonic() + seconds
    before, target.answers = len(heartbeat.read(target.delays)), Counter()

    def again_and_again() -> None:
        while attack and time.monotonic() < until:
            attack(target, task)

    with polite.running():
        with ThreadPoolExecutor(ATTACKERS) as pool:
            for attacking in [pool.submit(again_and_again) for _ in range(ATTACKS[attack] if attack else 0)]:
                attacking.result()
        time.sleep(max(0.5, until - time.monotonic()))
    return {
        "polite": {"statuses": count(polite.statuses), **percentiles(polite.times)},
        "hostile": count(target.answers),
        "loop_delay": lateness(heartbeat.read(target.delays)[before:]),
    }


def count(statuses: Counter[int]) -> dict[str, int]:
    """Statuses in order, as JSON takes them."""
    return {str(status): number for status, number in sorted(statuses.items())}


def main() -> None:
    """Run all kinds; fail on a 5xx for a polite client, or if the loop's delay is over 100 ms at p99.9."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind")
    parser.add_argument("--only", help="one kind, by the name of its function; nothing is written")
    given = parser.parse_args()
    pictures_to_refuse()
    kinds = {attack.__name__: attack for attack in ATTACKS if given.only in (None, attack.__name__)}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        try:
            target.server.start()
            wait_for_workers(target.server, WORKERS)
            rows["nobody"] = beside_polite_clients(target, None, given.seconds)
            for name, attack in kinds.items():
                rows[name] = beside_polite_clients(target, attack, given.seconds)
                print(name, json.dumps(rows[name]), flush=True)
            log = target.server.log.read_text()
        finally:
            target.server.close()
        delays = heartbeat.read(target.delays)
    failed = sum(n for row in rows.values() for status, n in row["polite"]["statuses"].items() if status >= "500")
    summary = {
        "polite_clients": POLITE,
        "workers": WORKERS,
        "seconds_each": given.seconds,
        "polite_5xx": failed,
        "tracebacks_in_the_log": log.count("Traceback"),
        "loop_delay": {"heartbeats": len(delays), **lateness(delays)},
    }
    print(json.dumps(summary, indent=2))
    if not given.only:
        write_results("strangers", "hostile callers one after the other, beside polite clients", **summary, rows=rows)
    sys.exit(bool(failed or summary["tracebacks_in_the_log"] or lateness(delays)["p99_9_ms"] > 1000 * WORST_ALLOWED))


if __name__ == "__main__":
    main()
