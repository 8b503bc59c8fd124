"""The load generator against a server that now and then closes a connection, with or without an answer."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from app.cli.load import closed_loop, form_request, percentiles
from bench.load import closed_loop_apart, open_loop, send_each
from tests.helpers.ports import free_port


class Server:
    """Answers `hi`; closes politely after every seventh answer, and instead of every fiftieth."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()
        self.port, self._ready, self._over = free_port(), threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
    asked = [form_request(f"/{n}", b"") for n in range(203)]
    load = send_each(server.url, asked, 4, keep=True)
    assert sum(load.statuses.values()) == 203
    assert load.statuses["0"] >= 203 // 50
    assert len(load.answers) == load.statuses["200"] >= 190
    assert all(body == b"hi" and request in asked for request, body in load.answers)
    assert all(server.asked[f"POST /{n}".encode()] == 1 for n in range(203))


def test_clients_ask_again_until_time_is_over_here_or_in_another_process(server: Server) -> None:
    request = form_request("/", b"")
    here = closed_loop(server.url, itertools.repeat(request), 4, 0.2)
    there, cpu = closed_loop_apart(server.url, [request], 4, 0.2, warm_up=0.1)
    for load in (here, there):
        assert load.statuses["200"] > 10
        assert 0 < load.per_second < 1e6
    assert cpu > 0


def test_an_open_loop_sends_at_its_own_rate(server: Server) -> None:
    load = open_loop(server.url, itertools.repeat(form_request("/", b"")), 200, 1.0)
    assert 100 < sum(load.statuses.values()) < 300
    assert set(load.statuses) == {"0", "200"}


def test_an_open_loop_counts_what_finds_no_server() -> None:
    load = open_loop(f"http://127.0.0.1:{free_port()}", itertools.repeat(b""), 200, 0.1)
    assert set(load.statuses) == {"0"}
    assert load.accepted == []


def test_a_closed_loop_without_a_server_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        closed_loop(f"http://127.0.0.1:{free_port()}", itertools.repeat(b""), 1, 10.0)


def test_percentiles_lie_within_the_times() -> None:
    assert percentiles([]) == {}
    assert percentiles([2.0]) == {"p50_ms": 2.0, "p90_ms": 2.0, "p99_ms": 2.0, "max_ms": 2.0}
    assert percentiles([float(n) for n in range(101)]) == {
        "p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "max_ms": 100.0,
    }  # fmt: skip
