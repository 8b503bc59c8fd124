"""What strangers may not do to others, measured on a running server; into bench/results/hostile.json.

neighbours   how long predictions take while hostile files arrive, beside how long they take without
keyless      how soon a body of 1 GB without a key is refused, and what the server's memory does meanwhile
timing       whether the time of a 404 tells another's task from none
"""

import argparse
import json
import random
import secrets
import socket
import subprocess
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

from app.http.keys import KeyFile, new_key, write_keys
from bench.latency import RESULTS
from bench.processes import resident
from model.evaluation.card import machine, today
from tests.e2e.conftest import Server
from tests.helpers.drawn import CHARACTERS, png
from tests.helpers.hostile_files import hostile_files

FIVE = list(CHARACTERS)[:5]
CLIENTS, EACH_A_SECOND, ATTACKERS = 4, 5.0, 4  # neighbours, their pace; who send hostile files without a pause
CALLS, TASKS = 2000, 20  # for each of a 404's two reasons
FLOODS, BODY = 20, 2**30


def create(client: httpx.Client) -> str:
    images = [("images", (name, png(name), "image/png")) for name in FIVE]
    return str(client.post("/tasks", data={"labels": FIVE}, files=images).raise_for_status().json()["task_id"])


# -- neighbours ------------------------------------------------------------------------------


def attack(url: str, task_id: str) -> None:
    """Send the hostile files round and round, each in a request of its own, until killed; a process of its own."""
    files = list(hostile_files().values())
    print("begun", flush=True)

    def send(start: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for n in range(start, 10**9):
                file = files[n % len(files)]
                answer = client.post(f"/tasks/{task_id}/predict", files=[("images", ("x", file.data))])
                if answer.status_code not in ((200,) if file.refused is None else (422, 503)):
                    print(f"answered {answer.status_code}", flush=True)

    with ThreadPoolExecutor(ATTACKERS) as pool:
        for one in [pool.submit(send, n * len(files) // ATTACKERS) for n in range(ATTACKERS)]:
            one.result()


def neighbours(server: Server, seconds: float) -> list[float]:
    """Milliseconds of each prediction by some clients at a steady pace; all must be right."""
    took: list[float] = []

    def client(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            task_id, began = create(http), time.monotonic()
            for n in range(int(seconds * EACH_A_SECOND)):
                due = began + (n + number / CLIENTS) / EACH_A_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
                files = [("images", ("q", png(FIVE[n % 5], 50 + n % 7), "image/png"))]
                sent = time.perf_counter()
                answer = http.post(f"/tasks/{task_id}/predict", files=files)
                took.append(1000 * (time.perf_counter() - sent))
                assert answer.json()["predictions"][0]["label"] == FIVE[n % 5], answer.text  # noqa: S101

    with ThreadPoolExecutor(CLIENTS) as pool:
        for one in [pool.submit(client, n) for n in range(CLIENTS)]:
            one.result()
    return took


def measure_neighbours(folder: Path, seconds: float) -> dict[str, Any]:
    """Alone and attacked, turn and turn about."""
    server = Server(folder / "neighbours")
    found: dict[str, list[float]] = {"alone": [], "attacked": []}
    try:
        server.start()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            task_id = create(client)
        neighbours(server, 5)
        for _ in range(3):
            found["alone"] += neighbours(server, seconds)
            command = [sys.executable, "-m", "bench.hostile", "--attack", server.url, task_id]
            attacking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert attacking.stdout is not None  # noqa: S101
            attacking.stdout.readline()
            found["attacked"] += neighbours(server, seconds)
            attacking.kill()
            said = attacking.stdout.read()
            attacking.wait()
            if said:
                raise RuntimeError(f"a hostile file was answered otherwise than documented: {said[:200]}")
        metrics = httpx.get(f"{server.url}/metrics").text
    finally:
        server.close()
    refused = [line for line in metrics.splitlines() if "http_requests_total" in line and 'status="422"' in line]
    figures = {
        kind: {"predictions": len(took), **{f"p{q}_ms": round(float(np.percentile(took, q)), 1) for q in (50, 90, 99)}}
        for kind, took in found.items()
    }
    return {
        "clients": CLIENTS,
        "predictions_a_second": CLIENTS * EACH_A_SECOND,
        "attackers": ATTACKERS,
        "hostile_files_refused": int(sum(float(line.split()[-1]) for line in refused)),
        **figures,
        "p99_ratio": round(figures["attacked"]["p99_ms"] / figures["alone"]["p99_ms"], 2),
    }


# -- keys ------------------------------------------------------------------------------------


def guarded(folder: Path) -> tuple[Server, dict[str, str]]:
    """A server with two keys' owners."""
    made = {name: new_key(name, name, ["read", "write"]) for name in ("ann", "bob")}
    write_keys(folder / "keys.json", KeyFile(keys=[kept for kept, _ in made.values()]))
    server = Server(folder / "guarded", LEO_KEYS_FILE=str(folder / "keys.json"))
    server.start()
    return server, {name: presented for name, (_, presented) in made.items()}


def flood(server: Server) -> tuple[float, int]:
    """Milliseconds until a keyless body of 1 GB is refused, and the bytes that the server let in after that."""
    head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {BODY}"
    block, sent = b"x" * 65536, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        began, answered = time.perf_counter(), threading.Event()
        took = 0.0

        def listen() -> None:
            nonlocal took
            answer = connection.recv(65536)
            took = 1000 * (time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 401 "):
                raise RuntimeError(f"answered {answer[:100]!r}")
            answered.set()

        listening = threading.Thread(target=listen)
        listening.start()
        try:
            connection.sendall(f"{head}\r\n\r\n".encode())
            while sent < BODY:
                connection.sendall(block)
                sent += len(block)
        except OSError:  # the server has ended the connection
            pass
        listening.join()
        if not answered.is_set():
            raise RuntimeError("no refusal came")
    return took, sent


def measure_keyless(server: Server) -> dict[str, Any]:
    """One flood after another."""
    flood(server)
    before, most = resident(server.process_id), 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, resident(server.process_id))

    watching = threading.Thread(target=watch)
    watching.start()
    floods = [flood(server) for _ in range(FLOODS)]
    over.set()
    watching.join()
    took = [one for one, _ in floods]
    return {
        "bodies": FLOODS,
        "bytes_each": BODY,
        "refused_after_ms": {"median": round(float(np.median(took)), 1), "most": round(max(took), 1)},
        "bytes_let_in_at_most": max(sent for _, sent in floods),
        "resident_mb": {"before": round(before, 1), "most": round(most, 1)},
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
    test = stats.mannwhitneyu(took["theirs"], took["none"])
    medians = {kind: float(np.median(times)) for kind, times in took.items()}
    interval = stats.bootstrap(
        (took["theirs"], took["none"]),
        lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {
        "calls_each": CALLS,
        "median_ms": {kind: round(median, 4) for kind, median in medians.items()},
        "difference_ms_ci95": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "mann_whitney_p": round(float(test.pvalue), 4),
        # How often one call to each would be told apart by its time: 0.5 is a guess.
        "told_apart": round(float(test.statistic) / CALLS**2, 4),
    }


def measure_timing(server: Server, keys: dict[str, str]) -> dict[str, Any]:
    """`GET` of a task and a prediction with it."""
    query = [("images", ("q", png("ring", 70), "image/png"))]
    with (
        httpx.Client(base_url=server.url, headers={"X-API-Key": keys["ann"]}, timeout=60) as ann,
        httpx.Client(base_url=server.url, headers={"X-API-Key": keys["bob"]}, timeout=60) as bob,
    ):
        theirs = [create(ann) for _ in range(TASKS)]
        calls: dict[str, Callable[[str], httpx.Response]] = {
            "get": lambda task_id: bob.get(f"/tasks/{task_id}"),
            "predict": lambda task_id: bob.post(f"/tasks/{task_id}/predict", files=query),
        }
        for call in calls.values():
            for _ in range(200):
                call("0" * 24)
        return {name: told_apart(call, theirs) for name, call in calls.items()}


def main() -> None:
    """Measure all three; fail over 2x for neighbours, over 100 ms or 20 MB for a flood, or under p = 0.01 in timing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["neighbours", "keyless", "timing"], help="the others' last results stay")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of six turns")
    parser.add_argument("--attack", nargs=2, metavar=("URL", "TASK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack:
        return attack(*given.attack)
    target = RESULTS / "hostile.json"
    written = json.loads(target.read_text()) if target.exists() else {}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.only in (None, "neighbours"):
            found["neighbours"] = measure_neighbours(folder, given.seconds)
        if given.only != "neighbours":
            server, keys = guarded(folder)
            try:
                if given.only in (None, "keyless"):
                    found["keyless"] = measure_keyless(server)
                if given.only in (None, "timing"):
                    found["timing"] = measure_timing(server, keys)
            finally:
                server.close()
    written |= {name: {"date": today(), "machine": machine(), **figures} for name, figures in found.items()}
    target.write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    keyless = found.get("keyless", {"refused_after_ms": {"most": 0}, "resident_mb": {"before": 0, "most": 0}})
    sys.exit(
        found.get("neighbours", {"p99_ratio": 0})["p99_ratio"] > 2
        or keyless["refused_after_ms"]["most"] > 100
        or keyless["resident_mb"]["most"] - keyless["resident_mb"]["before"] > 20
        or any(one["mann_whitney_p"] < 0.01 for one in found.get("timing", {}).values())
    )


if __name__ == "__main__":
    main()
