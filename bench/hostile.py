"""What hostile callers can do to others, measured on a running server; writes bench/results/hostile.json.

neighbours   how long predictions take while hostile files arrive, beside how long they take without
keyless      how soon a body of 1 GB without a key is refused, and what the server's memory does meanwhile
timing       whether the time of a 404 tells another's task from none
"""

import argparse
import itertools
import random
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from scipy import stats

from app.cli.load import FORM, form_request, multipart, percentiles
from app.http.keys import KeyFile, new_key, write_keys
from bench.common import write_section
from bench.load import closed_loop_apart, open_loop
from bench.requests import NAMES, picture, prediction, query
from bench.service import Service, metrics, resident_mb
from tests.helpers.hostile_files import hostile_files

PREDICTIONS_A_SECOND, ATTACKERS = 20.0, 4
CALLS, TASKS = 2000, 20  # for each of a 404's two reasons
FLOODS, BODY = 20, 2**30


def measure_neighbours(seconds: float) -> dict[str, Any]:
    """Predictions at random times, without hostile files and with them, taking turns."""
    times: dict[str, list[float]] = {"alone": [], "attacked": []}
    with Service() as service:
        task = service.created()
        predictions = itertools.cycle([prediction(task, n) for n in range(40)])
        attack = [form_request(f"/tasks/{task}/predict", multipart([file.data])) for file in hostile_files().values()]

        def predict(kind: str, duration: float) -> None:
            load = open_loop(service.url, predictions, PREDICTIONS_A_SECOND, duration)
            if load.statuses.keys() != {"200"}:
                raise RuntimeError(f"{kind}: {load.statuses}")
            times[kind] += load.accepted

        def refused() -> float:
            return sum(
                n for name, n in metrics(service.url).items() if "http_requests_total" in name and "/422" in name
            )

        predict("alone", 5.0)
        times["alone"].clear()
        with ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                predict("alone", seconds)
                before = refused()
                attacking = pool.submit(closed_loop_apart, service.url, attack, ATTACKERS, seconds + 5)
                while refused() == before and not attacking.done():
                    time.sleep(0.1)
                predict("attacked", seconds)
                load, _ = attacking.result()
                if not load.statuses.keys() <= {"200", "422", "503"}:
                    raise RuntimeError(f"hostile files: {load.statuses}")
        refused_at_last = int(refused())
    figures: dict[str, Any] = {kind: {"predictions": len(took), **percentiles(took)} for kind, took in times.items()}
    return {
        "predictions_a_second": PREDICTIONS_A_SECOND,
        "attackers": ATTACKERS,
        "hostile_files_refused": refused_at_last,
        **figures,
        "p99_ratio": round(figures["attacked"]["p99_ms"] / figures["alone"]["p99_ms"], 2),
    }


def flood(port: int) -> tuple[float, int]:
    """Milliseconds until a keyless body of 1 GB is refused, and the bytes sent before the server closed."""
    head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {BODY}\r\n\r\n"
    block, sent = b"x" * 65536, 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, ThreadPoolExecutor(1) as pool:

        def refused_at() -> float:
            answer = connection.recv(65536)
            if not answer.startswith(b"HTTP/1.1 401 "):
                raise RuntimeError(f"answered {answer[:100]!r}")
            return time.perf_counter()

        began, refusal = time.perf_counter(), pool.submit(refused_at)
        try:
            connection.sendall(head.encode())
            while sent < BODY:
                connection.sendall(block)
                sent += len(block)
        except OSError:  # the server has ended the connection
            pass
        return 1000 * (refusal.result() - began), sent


def measure_keyless(service: Service, _: dict[str, str]) -> dict[str, Any]:
    """One flood after another, and the server's memory meanwhile."""
    flood(service.port)
    before, most, over = resident_mb(service.process_id), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, resident_mb(service.process_id))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch)
        floods = [flood(service.port) for _ in range(FLOODS)]
        over.set()
    took = [milliseconds for milliseconds, _ in floods]
    return {
        "bodies": FLOODS,
        "bytes_each": BODY,
        "refused_after_ms": {"median": round(float(np.median(took)), 1), "most": round(max(took), 1)},
        "bytes_let_in_at_most": max(sent for _, sent in floods),
        "resident_mb": {"before": before, "most": most},
    }


def told_apart(call: Callable[[str], httpx.Response], theirs: list[str]) -> dict[str, Any]:
    """Ask for another's tasks and for as many that never were, in random order, and compare the times.

    Each is asked for equally often: what a client or a server remembers of a path must not make the difference.
    """
    ids = {"theirs": theirs, "none": [secrets.token_hex(12) for _ in theirs]}
    order = [(kind, some[n % len(some)]) for kind, some in ids.items() for n in range(CALLS)]
    random.Random(0).shuffle(order)
    took: dict[str, list[float]] = {"theirs": [], "none": []}
    for kind, task_id in order:
        began = time.perf_counter_ns()
        answer = call(task_id)
        took[kind].append((time.perf_counter_ns() - began) / 1e6)
        if answer.status_code != 404:
            raise RuntimeError(f"answered {answer.status_code}")
    both = (took["theirs"], took["none"])
    test = stats.mannwhitneyu(*both)
    interval = stats.bootstrap(
        both,
        lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {
        "calls_each": CALLS,
        "median_ms": {kind: round(float(np.median(times)), 4) for kind, times in took.items()},
        "difference_ms_ci95": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "mann_whitney_p": round(float(test.pvalue), 4),
        # How often one call to each would be told apart by its time: 0.5 is a guess.
        "told_apart": round(float(test.statistic) / CALLS**2, 4),
    }


def measure_timing(service: Service, keys: dict[str, str]) -> dict[str, Any]:
    """`GET` of a task and a prediction with it."""
    images = multipart([picture(name, 0) for name in NAMES], NAMES)
    with (
        httpx.Client(base_url=service.url, headers={"X-API-Key": keys["ann"], "Content-Type": FORM}) as ann,
        httpx.Client(base_url=service.url, headers={"X-API-Key": keys["bob"], "Content-Type": FORM}) as bob,
    ):
        theirs = [ann.post("/tasks", content=images).raise_for_status().json()["task_id"] for _ in range(TASKS)]
        calls: dict[str, Callable[[str], httpx.Response]] = {
            "get": lambda task_id: bob.get(f"/tasks/{task_id}"),
            "predict": lambda task_id: bob.post(f"/tasks/{task_id}/predict", content=multipart([query(0)])),
        }
        for call in calls.values():
            for _ in range(200):
                call("0" * 24)
        return {name: told_apart(call, theirs) for name, call in calls.items()}


def with_keys(measure: Callable[[Service, dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """Measure a server with two keys' owners."""
    made = {name: new_key(name, name, ["read", "write"]) for name in ("ann", "bob")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        write_keys(path, KeyFile(keys=[kept for kept, _ in made.values()]))
        with Service(LEO_KEYS_FILE=str(path)) as service:
            return measure(service, {name: presented for name, (_, presented) in made.items()})


def main() -> None:
    """Measure all three; fail over 2x for neighbours, over 100 ms or 20 MB for a flood, or under p = 0.01 in timing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["neighbours", "keyless", "timing"], help="the others' last results stay")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of six turns")
    given = parser.parse_args()
    failed = False
    if given.only in (None, "neighbours"):
        neighbours = measure_neighbours(given.seconds)
        write_section("hostile", "neighbours", neighbours)
        failed |= neighbours["p99_ratio"] > 2
    if given.only in (None, "keyless"):
        keyless = with_keys(measure_keyless)
        write_section("hostile", "keyless", keyless)
        memory = keyless["resident_mb"]
        failed |= keyless["refused_after_ms"]["most"] > 100 or memory["most"] - memory["before"] > 20
    if given.only in (None, "timing"):
        timing = with_keys(measure_timing)
        write_section("hostile", "timing", timing)
        failed |= any(one["mann_whitney_p"] < 0.01 for one in timing.values())
    sys.exit(failed)


if __name__ == "__main__":
    main()
