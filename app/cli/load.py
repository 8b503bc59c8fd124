"""A load generator: clients that send requests over kept connections, and what they measure."""

import asyncio
import math
import ssl
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

BOUNDARY = "leo-bench"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PATIENCE = 60.0  # seconds that a request may take


@dataclass
class Load:
    """What came of a load."""

    seconds: float = 0.0
    milliseconds: dict[int, list[float]] = field(default_factory=dict)  # by status; 0 where no answer came
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)  # accepted requests and their answers, where kept

    def add(self, status: int, began: float) -> None:
        """Count an answer that came now to a request that was sent, or due, at `began`."""
        self.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - began))

    @property
    def statuses(self) -> dict[str, int]:
        """How often each status came."""
        return {str(status): len(times) for status, times in sorted(self.milliseconds.items())}

    @property
    def accepted(self) -> list[float]:
        """Milliseconds of each answer with a status of 2xx."""
        return [took for status, times in self.milliseconds.items() if 200 <= status < 300 for took in times]

    @property
    def per_second(self) -> float:
        """Accepted requests a second."""
        return len(self.accepted) / self.seconds

    def summary(self) -> dict[str, Any]:
        """Accepted requests a second, their percentiles, and all statuses."""
        return {"per_second": round(self.per_second, 1), **percentiles(self.accepted), "statuses": self.statuses}


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p90, p99 and the longest; empty without times."""
    if not times:
        return {}
    cuts = statistics.quantiles(times if len(times) > 1 else times * 2, n=100, method="inclusive")
    named = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(times)}
    return {name: round(value, 3) for name, value in named.items()}


class Connection(asyncio.Protocol):
    """An HTTP connection that carries one request at a time.

    It does far less than a client library, because clients share the machine with the server that they measure.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, url: str) -> "Connection":
        """A new connection to a server. Raises `OSError` where there is none."""
        parts = urlsplit(url)
        context = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if context else 80)
        return (await asyncio.get_running_loop().create_connection(cls, parts.hostname or "", port, ssl=context))[1]

    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 where the connection ends before it."""
        self._body, self._answer = b"", asyncio.get_running_loop().create_future()
        if self.transport is None:
            return 0, b""
        self.transport.write(request)
        return await self._answer

    def close(self) -> None:
        """End it; a request under way gets status 0."""
        if self.transport:
            self.transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._finish(0, b"")

    # Called by the parser.

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self.transport and not self._parser.should_keep_alive():
            self.transport.close()
        self._finish(self._parser.get_status_code(), self._body)

    def _finish(self, status: int, body: bytes) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result((status, body))


def closed_loop(url: str, requests: Iterator[bytes], clients: int, seconds: float, *, keep: bool = False) -> Load:
    """Concurrent clients, each of which sends the next request as soon as its last one is answered.

    They stop after `seconds`, or when there are no more requests. A client that cannot connect again leaves. With
    `keep` accepted answers are kept. Raises `OSError` where there is no server.
    """

    async def run() -> Load:
        load = Load()
        connections = [await Connection.to(url) for _ in range(clients)]

        async def client(connection: Connection) -> None:
            for request in requests:
                sent = time.perf_counter()
                try:
                    if not connection.is_open:
                        connection = await Connection.to(url)
                        connections.append(connection)
                    status, body = await connection.ask(request)
                except OSError:
                    load.add(0, sent)
                    return
                load.add(status, sent)
                if keep and 200 <= status < 300:
                    load.answers.append((request, body))
                if time.perf_counter() >= until:
                    return

        def give_up() -> None:
            for connection in connections:
                connection.close()

        began = time.perf_counter()
        until = began + seconds
        if math.isfinite(seconds):
            asyncio.get_running_loop().call_later(seconds + PATIENCE, give_up)
        await asyncio.gather(*map(client, list(connections)))
        load.seconds = time.perf_counter() - began
        give_up()
        return load

    return uvloop.run(run())


def form_request(
    path: str, form: bytes, url: str = "http://127.0.0.1", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole POST request of a form."""
    parts = urlsplit(url)
    own = {"Host": parts.netloc.rpartition("@")[2], "Content-Type": FORM, "Content-Length": str(len(form))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (own | dict(headers or {})).items())
    return f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n{lines}\r\n".encode() + form


def multipart(pictures: list[bytes], labels: Sequence[str] = (), options: Mapping[str, str] | None = None) -> bytes:
    """A form as curl and browsers send it."""
    parts = [
        f'Content-Disposition: form-data; name="images"; filename="{n}.png"\r\n\r\n'.encode() + picture
        for n, picture in enumerate(pictures)
    ]
    fields = [*(("labels", label) for label in labels), *(options or {}).items()]
    parts += [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    start = f"--{BOUNDARY}\r\n".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
