"""The load generator against a server that now and then closes a connection, with or without an answer."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from bench.load import apart, closed, each, request
from tests.helpers.redis_server import free_port


class Server:
    """Answers `hi`; closes politely after every seventh answer, and instead of every fiftieth."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()
        self.port, self._ready, self._over = free_port(), threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self._ready.set()
        async with server:
            await self._over.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"go on"
        while head:
            head = await reader.read(4096)
            self.asked[head.partition(b" HTTP")[0]] += 1
            number = self.asked.total()
            polite = b"Connection: close\r\n" if number % 7 == 0 else b""
            if head and number % 50:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + polite + b"\r\nhi")
            if polite or number % 50 == 0:
                break
        writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_each_is_asked_once_whatever_becomes_of_connections(server: Server) -> None:
    asked = [request(f"/{n}", b"", "x") for n in range(203)]
    outcome = each(server.port, asked, 4, keep=True)
    assert sum(outcome.statuses.values()) == 203
    assert outcome.statuses["0"] >= 203 // 50
    assert outcome.bodies.count(b"hi") == outcome.statuses["200"] >= 190
    assert all(server.asked[f"POST /{n}".encode()] == 1 for n in range(203))


def test_clients_ask_again_until_time_is_over_here_or_in_a_process_of_their_own(server: Server) -> None:
    here = closed(server.port, lambda: request("/", b"", "x"), 4, 0.2)
    there, cpu = apart(server.port, [request("/", b"", "x")], 4, 0.2, warm_up=0.1)
    for outcome in (here, there):
        assert outcome.statuses["200"] > 10
    assert cpu > 0


def test_who_cannot_connect_says_so() -> None:
    with pytest.raises(OSError, match="refused"):
        closed(free_port(), lambda: b"", 1, 10.0)
