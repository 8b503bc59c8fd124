"""A load generator that costs little, since it shares the machine with what it measures.

Requests are bytes made beforehand; answers are looked at no further than their status and length. `closed`: so many
clients, each asking again as soon as it is answered; `each`: the same until a list of requests is at its end.
`open_loop`: requests that come when they come (Poisson), whether or not earlier ones were answered, and are timed from
when they should have been sent.
"""

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

Next = Callable[[], bytes]  # the next request, whole; raises StopIteration after the last
MOST_CONNECTIONS = 1024
PROJECT = Path(__file__).resolve().parent.parent


@dataclass
class Outcome:
    """What came of some load; times in milliseconds."""

    seconds: float = 0.0
    milliseconds: dict[int, list[float]] = field(default_factory=dict)  # by status; 0 where no answer came
    bodies: list[bytes] = field(default_factory=list)

    @property
    def statuses(self) -> dict[str, int]:
        return {str(status): len(times) for status, times in sorted(self.milliseconds.items())}

    @property
    def accepted(self) -> list[float]:
        return [took for status, times in self.milliseconds.items() if 200 <= status < 300 for took in times]

    @property
    def per_second(self) -> float:
        return len(self.accepted) / self.seconds

    def summary(self) -> dict[str, object]:
        """Accepted requests a second and their percentiles."""
        return {"per_second": round(self.per_second, 1), **percentiles(self.accepted), "statuses": self.statuses}


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p90, p99 and the longest."""
    if len(times) < 2:
        return {}
    cuts = statistics.quantiles(times, n=100)
    named = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(times)}
    return {name: round(value, 3) for name, value in named.items()}


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, answered: Callable[["Connection", int, bytes], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, began: float) -> None:
        self.began = began
        if self.transport:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length:", 0, head)
        length = int(self._buffer[at + 15 : self._buffer.index(b"\r\n", at)]) if at >= 0 else 0
        if len(self._buffer) < head + 4 + length:
            return
        if b"connection: close" in self._buffer[:head].lower() and self.transport:
            self.transport.close()
            self.transport = None
        status, body, self._buffer = int(self._buffer[9:12]), self._buffer[head + 4 :], b""
        self._answered(self, status, body)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        if self.began:
            self._answered(self, 0, b"")


def closed(port: int, ask: Next, clients: int, seconds: float, *, keep: bool = False) -> Outcome:
    """`clients` that ask again as soon as they are answered; one that cannot connect any more leaves.

    With `keep` the bodies of answers are kept.
    """

    async def run() -> Outcome:
        loop, outcome = asyncio.get_running_loop(), Outcome()
        connections: list[Connection] = []
        connecting: set[asyncio.Task[None]] = set()
        over, busy = asyncio.Event(), clients
        until = time.perf_counter() + seconds

        def answered(connection: Connection, status: int, body: bytes) -> None:
            now = time.perf_counter()
            outcome.milliseconds.setdefault(status, []).append(1000 * (now - connection.began))
            connection.began = 0.0
            if keep:
                outcome.bodies.append(body)
            if now < until:
                go_on(connection, now)
            else:
                leave()

        def go_on(connection: Connection, now: float) -> None:
            try:
                request = ask()
            except StopIteration:
                leave()
                return
            if connection.transport:
                connection.ask(request, now)
            else:
                connecting.add(task := loop.create_task(connect_again(request)))
                task.add_done_callback(connecting.discard)

        async def connect_again(request: bytes) -> None:
            began = time.perf_counter()
            try:
                connection = await connect()
            except OSError:
                outcome.milliseconds.setdefault(0, []).append(1000 * (time.perf_counter() - began))
                leave()
            else:
                connection.ask(request, began)

        async def connect() -> Connection:
            _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
            connections.append(connection)
            return connection

        def leave() -> None:
            nonlocal busy
            busy -= 1
            if not busy:
                over.set()

        first = [await connect() for _ in range(clients)]
        began = time.perf_counter()
        for connection in first:
            go_on(connection, time.perf_counter())
        await over.wait()
        outcome.seconds = time.perf_counter() - began
        for connection in connections:
            if connection.transport:
                connection.transport.close()
        return outcome

    return uvloop.run(run())


def each(port: int, requests: Iterable[bytes], clients: int, *, keep: bool = False) -> Outcome:
    """Every request once, by so many clients."""
    return closed(port, iter(requests).__next__, clients, float("inf"), keep=keep)


def apart(
    port: int, requests: list[bytes], clients: int, seconds: float, warm_up: float = 0.0
) -> tuple[Outcome, float]:
    """`closed` with these requests in turn, in a process of its own, and the processor time that it took in seconds."""
    order = {"port": port, "clients": clients, "seconds": seconds, "warm_up": warm_up}
    given = json.dumps(order | {"requests": [one.decode("latin-1") for one in requests]})
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True, cwd=PROJECT)
    found = json.loads(done.stdout)
    milliseconds = {int(status): times for status, times in found["milliseconds"].items()}
    return Outcome(found["seconds"], milliseconds), found["cpu"]


def _apart(port: int, requests: list[str], clients: int, seconds: float, warm_up: float) -> dict[str, object]:
    turns = itertools.cycle([one.encode("latin-1") for one in requests])
    if warm_up:
        closed(port, turns.__next__, clients, warm_up)
    cpu = time.process_time()
    outcome = closed(port, turns.__next__, clients, seconds)
    cpu = time.process_time() - cpu
    return {"seconds": outcome.seconds, "milliseconds": outcome.milliseconds, "cpu": cpu}


def open_loop(port: int, ask: Next, per_second: float, seconds: float, seed: int = 0) -> Outcome:
    """Requests at random times, `per_second` on average. What is unanswered ten seconds after the end is status 0, and
    so is what found no connection."""

    async def run() -> Outcome:
        loop, outcome, chance = asyncio.get_running_loop(), Outcome(), random.Random(seed)
        idle: list[Connection] = []
        counts: Counter[str] = Counter()

        def answered(connection: Connection, status: int, _: bytes) -> None:
            outcome.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - connection.began))
            connection.began = 0.0
            counts["under way"] -= 1
            if connection.transport and not connection.transport.is_closing():
                idle.append(connection)

        async def send(due: float) -> None:
            while idle:
                connection = idle.pop()
                if connection.transport and not connection.transport.is_closing():
                    break
            else:
                if counts["connections"] >= MOST_CONNECTIONS:  # the server answers too late
                    counts["under way"] -= 1
                    outcome.milliseconds.setdefault(0, []).append(10_000.0)
                    return
                counts["connections"] += 1
                connection = (await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port))[1]
            connection.ask(ask(), due)

        began = due = time.perf_counter()
        sending = set()
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            while due <= time.perf_counter() and due < began + seconds:
                counts["under way"] += 1
                task = asyncio.create_task(send(due))
                sending.add(task)
                task.add_done_callback(sending.discard)
                due += chance.expovariate(per_second)
        outcome.seconds = seconds
        for _ in range(1000):
            if not counts["under way"]:
                break
            await asyncio.sleep(0.01)
        if counts["under way"]:
            outcome.milliseconds.setdefault(0, []).extend([10_000.0] * counts["under way"])
        for connection in idle:
            if connection.transport:
                connection.transport.close()
        return outcome

    return uvloop.run(run())


def request(path: str, body: bytes, boundary: str) -> bytes:
    """A whole POST of a form."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    print(json.dumps(_apart(**json.load(sys.stdin))))
