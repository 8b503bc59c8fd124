"""Loads beside `closed_loop` of `leo bench`: a list of requests once, another process, requests at random times."""

import asyncio
import itertools
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import uvloop

from app.cli.load import Connection, Load, closed_loop

MOST_CONNECTIONS = 1024
PATIENCE = 10.0  # seconds that answers may take after the end of an open loop


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
