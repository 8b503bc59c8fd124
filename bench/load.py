"""Loads beside `closed_loop` of `leo bench`: a list of requests once, another process, requests at set times."""

import asyncio
import itertools
import math
import multiprocessing
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import uvloop

from app.cli.load import Connection, Load, closed_loop

MOST_CONNECTIONS = 1024
PATIENCE = 10.0  # seconds that answers may take after the end of an open loop, or of silence on a connection


def send_each(url: str, requests: Sequence[bytes], clients: int, *, keep: bool = False) -> Load:
    """Every request once, by concurrent clients."""
    return closed_loop(url, iter(requests), clients, float("inf"), keep=keep)


def closed_loop_apart(
    url: str, requests: list[bytes], clients: int, seconds: float, warm_up: float = 0.0
) -> tuple[Load, float]:
    """`closed_loop` with these requests in turn, in another process, and the seconds of processor time it took."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_closed_loop_here, url, requests, clients, seconds, warm_up).result()


def _closed_loop_here(
    url: str, requests: list[bytes], clients: int, seconds: float, warm_up: float
) -> tuple[Load, float]:
    turns = itertools.cycle(requests)
    if warm_up:
        closed_loop(url, turns, clients, warm_up)
    cpu = time.process_time()
    load = closed_loop(url, turns, clients, seconds)
    return load, time.process_time() - cpu


def open_loop(url: str, requests: Iterator[bytes], per_second: float, seconds: float, seed: int = 0) -> Load:
    """Requests at random times (Poisson), whether or not earlier ones were answered, timed from when they were due.

    What finds no connection, or is unanswered ten seconds after the end, has status 0.
    """

    async def run() -> Load:
        load, chance = Load(seconds), random.Random(seed)
        idle: list[Connection] = []
        connections: list[Connection] = []

        async def send(due: float) -> None:
            while idle and not idle[-1].is_open:
                idle.pop()
            connection = idle.pop() if idle else None
            try:
                if connection is None:
                    if len(connections) >= MOST_CONNECTIONS:
                        raise OSError
                    connection = await Connection.to(url)
                    connections.append(connection)
                status, _ = await connection.ask(next(requests))
            except OSError:
                status = 0
            load.add(status, due)
            if connection:
                idle.append(connection)

        began = due = time.perf_counter()
        sending: list[asyncio.Task[None]] = []
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            while due <= time.perf_counter() and due < began + seconds:
                sending.append(asyncio.create_task(send(due)))
                due += chance.expovariate(per_second)
        _, late = await asyncio.wait(sending, timeout=PATIENCE)
        for task in late:
            task.cancel()
            load.milliseconds.setdefault(0, []).append(1000 * PATIENCE)
        for connection in connections:
            connection.close()
        return load

    return uvloop.run(run())


def steady_clients(
    url: str, request: bytes, per_second: float, seconds: float, clients: int = MOST_CONNECTIONS
) -> tuple[Load, float]:
    """Many clients, each of which sends a POST request at its own steady rate, and how many a second they sent.

    By h2load, whose processor time for a request is a third of `open_loop`'s: it shares the cores with the service.
    A client whose last answer is late sends its next request after it. What is not answered has status 0.
    Raises `FileNotFoundError` without h2load, which is in Debian's package nghttp2-client.
    """
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = [line for line in lines[1:] if not re.match("(host|content-length):", line, re.IGNORECASE)]
    count = math.ceil(per_second * seconds / clients) * clients
    # They begin one after the other, evenly over the time between two requests of one of them.
    pause = max(1, round(1000 / per_second))
    with tempfile.TemporaryDirectory() as folder:
        log, form = Path(folder) / "log", Path(folder) / "form"
        form.write_bytes(body)
        command = ["h2load", "--h1", f"-c{clients}", f"-n{count}", f"--rps={per_second / clients}", f"-N{PATIENCE:g}s"]
        command += [f"-r{max(1, round(per_second * pause / 1000))}", f"--rate-period={pause}ms", f"--data={form}"]
        command += [f"--header={line}" for line in headers] + [f"--log-file={log}", url + lines[0].split()[1]]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=10 * seconds + 60)
        rows = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    load = Load(seconds)
    for _, status, microseconds in rows:
        load.milliseconds.setdefault(max(0, status), []).append(microseconds / 1000)
    unanswered = count - len(rows)
    if unanswered:
        load.milliseconds.setdefault(0, []).extend([1000 * PATIENCE] * unanswered)
    began = [row[0] for row in rows]
    load.seconds = (max(began) - min(began)) / 1e6
    return load, len(rows) / load.seconds
