"""Clients that send slowly, without end or too much, and those that do not read. A real server, raw sockets."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from bench.service import resident_mb
from tests.helpers.server import Server
from tests.helpers.waiting import wait_until

SOON = 30.0  # seconds, of which the service itself takes 10 to 25
Slow = Callable[[Server, str], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("slow") / "data", LEO_WORKERS="1")
    try:
        server.start()
        yield server
    finally:
        server.close()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def task_id(server: Server) -> str:
    return server.create_task()


@pytest.fixture(scope="module")
def slow_ones(server: Server, task_id: str) -> dict[Slow, "Future[None]"]:
    """What the clients saw that take the longest, who come at the same time."""
    with ThreadPoolExecutor() as pool:
        return {slow: pool.submit(slow, server, task_id) for slow in (send_too_slowly, upload_slowly, leave_unread)}


@contextlib.contextmanager
def connected(server: Server, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=SOON))
            for _ in range(count)
        ]


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def answer(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            received += more
    return received


def status(received: bytes) -> int:
    return int(received.split(b" ", 2)[1]) if received else 0


def dribble(pieces: dict[socket.socket, bytes], meanwhile: Callable[[], None] = lambda: None) -> list[int]:
    """Send each connection's piece once a second until the server ends it; return the statuses of the answers."""
    answers = dict.fromkeys(pieces, b"")
    until = time.monotonic() + SOON
    with selectors.DefaultSelector() as selector:
        for connection in pieces:
            selector.register(connection, selectors.EVENT_READ)
        while (still := selector.get_map()) and time.monotonic() < until:
            meanwhile()
            for connection in [key.fileobj for key in still.values()]:
                with contextlib.suppress(OSError):
                    connection.sendall(pieces[connection])  # type: ignore[union-attr,index]
            second = time.monotonic() + 1
            while (left := second - time.monotonic()) > 0 and selector.get_map():
                for key, _ in selector.select(left):
                    ended: socket.socket = key.fileobj  # type: ignore[assignment]
                    more = b""
                    with contextlib.suppress(ConnectionError):
                        more = ended.recv(65536)
                    answers[ended] += more
                    if not more:
                        selector.unregister(ended)
        open_still = [pieces[key.fileobj] for key in selector.get_map().values()]  # type: ignore[index]
        assert not open_still, f"still open: {open_still}"
    return [status(received) for received in answers.values()]


SLOW_BODY = head("POST", "/tasks", "Content-Type: application/json", "Content-Length: 5000")
SLOW_CHUNKS = head("POST", "/tasks", "Content-Type: application/json", "Transfer-Encoding: chunked")
SLOW = [  # what is sent first, what once a second, and the status of the first answer
    (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a", 408),
    (b"GET / HTTP/1.1\r\n", b"X-Slow: a\r\n", 408),
    (b"GET /", b"a", 408),
    (b"\r\n", b"\r\n", 408),
    (head("GET", "/healthz") + b"GET /", b"a", 200),  # the second of two
    (SLOW_CHUNKS, b"1\r\n \r\n", 408),
    (SLOW_CHUNKS, b"1;a=b", 408),
    (head("GET", "/tasks", "Content-Length: 100"), b" ", 408),
    (head("GET", "/healthz", "Content-Length: 100"), b" ", 200),  # answered before the body
    (head("PATCH", "/tasks/a", "Content-Type: application/json", "Content-Length: 100"), b" ", 408),
    *[(SLOW_BODY, b" ", 408)] * 300,
]


def test_what_comes_too_slowly_is_given_up_and_keeps_nobody_from_an_answer(
    slow_ones: dict[Slow, "Future[None]"],
) -> None:
    slow_ones[send_too_slowly].result()


def send_too_slowly(server: Server, task_id: str) -> None:
    def ask() -> None:
        statuses.extend(server.predict_ring(task_id).status_code for _ in range(5))

    statuses: list[int] = []
    with connected(server, len(SLOW)) as connections:
        for connection, (begin, _, _) in zip(connections, SLOW, strict=True):
            connection.sendall(begin)
        pieces = {connection: piece for connection, (_, piece, _) in zip(connections, SLOW, strict=True)}
        assert dribble(pieces, ask) == [expected for _, _, expected in SLOW]
    assert set(statuses) == {200}
    assert "status=408" in server.log.read_text()


def send_without_end(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send a piece again and again until the server ends the connection; return how many bytes it took."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET / HTTP/1.1\r\nX-Long: ", b"a" * 65536),
        (b"GET / HTTP/1.1\r\n", b"X-Many: a\r\n" * 6000),
        (b"GET /", b"a" * 65536),
        (b"\r\n", b"\r\n" * 30_000),
        (head("POST", "/tasks", "Transfer-Encoding: chunked"), b"1\r\na\r\n" * 10_000),
        (head("POST", "/tasks", "Transfer-Encoding: chunked") + b"1;", b"a" * 65536),
        (head("POST", "/tasks", "Transfer-Encoding: chunked") + b"0\r\n", b"X-Trailer: a\r\n" * 5000),
        (head("GET", "/healthz", "Transfer-Encoding: chunked"), b"10000\r\n" + b"a" * 65536 + b"\r\n"),
        (head("GET", "/healthz", "Connection: Upgrade", "Upgrade: websocket"), b"a" * 65536),
        (b"", head("GET", "/healthz") * 500),  # pipelined
        (b"nonsense\r\n\r\n", b"a" * 65536),
    ],
)
def test_what_has_no_end_is_ended(server: Server, begin: bytes, piece: bytes) -> None:
    before = resident_mb(server.process_id)
    with connected(server) as (connection,), ThreadPoolExecutor() as pool:
        connection.sendall(begin)
        sending = pool.submit(send_without_end, connection, piece, 400 * 2**20)
        received = answer(connection)
        assert sending.result() < 64 * 2**20
    assert status(received) in (0, 200, 400, 408, 413, 414, 415, 431)
    assert resident_mb(server.process_id) - before < 50
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_large_headers_are_refused_with_431(server: Server) -> None:
    with connected(server, 3) as connections:
        for connection, lines in zip(connections, (["X: " + "a" * 40_000], ["X: a"] * 10_000, []), strict=True):
            path = "/healthz" if lines else "/" + "a" * 40_000
            connection.sendall(head("GET", path, *lines))
            received = answer(connection)
            # A URL that is too long may be found out before or after the headers are complete.
            assert status(received) == 431 or (not lines and status(received) == 414)
            assert b"application/problem+json" in received
            assert (b"more than 128 headers" if len(lines) > 1 else b"over the limit of") in received
    assert httpx.get(f"{server.url}/healthz", headers={"X": "a" * 16_000}).status_code == 200


def test_an_upload_over_a_slow_line_is_accepted(slow_ones: dict[Slow, "Future[None]"]) -> None:
    slow_ones[upload_slowly].result()


def upload_slowly(server: Server, _: str) -> None:
    """Twenty kilobytes a second, for longer than what is slower may take."""
    body = b'{"support": ["' + b"a" * 540_000 + b'"]}'
    with connected(server) as (connection,):
        connection.sendall(
            head(
                "POST", "/tasks", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"
            )
        )
        for begin in range(0, len(body), 20_000):
            connection.sendall(body[begin : begin + 20_000])
            connection.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                assert begin + 20_000 >= len(body) or connection.recv(1) is None, "answered before the whole body"
        connection.settimeout(SOON)
        assert status(answer(connection)) == 422


def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    """Where the system allows few open files, too."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, limits[1]))
    server = Server(tmp_path / "data", LEO_WORKERS="1")
    try:
        server.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        with connected(server, 2500):
            wait_until(lambda: answers(server), SOON)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        server.close()


def answers(server: Server) -> bool:
    """Whether the server answers a new client. In the middle of a burst it may reset him, and he comes again."""
    try:
        return httpx.get(f"{server.url}/healthz", timeout=SOON).status_code == 200
    except httpx.ReadError:
        return False


def test_an_answer_that_nobody_reads_is_given_up(slow_ones: dict[Slow, "Future[None]"]) -> None:
    slow_ones[leave_unread].result()


def leave_unread(server: Server, task_id: str) -> None:
    """Asked for again and again, so that more waits than the system's buffers hold."""
    request = head("GET", f"/tasks/{task_id}/export.onnx")
    before = resident_mb(server.process_id)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(40):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request * 6)
            connections.append(connection)
        ports = {connection.getsockname()[1] for connection in connections}
        wait_until(lambda: not ports & established(server.port), 180)
    assert resident_mb(server.process_id) - before < 300


def established(port: int) -> set[int]:
    """The clients' ports of the connections that a server of this machine has open."""
    found = set()
    with open("/proc/net/tcp") as lines:
        for line in list(lines)[1:]:
            fields = line.split()
            local, remote = (int(address.split(":")[1], 16) for address in fields[1:3])
            if local == port and fields[3] == "01":
                found.add(remote)
    return found


def test_memory_of_large_bodies_goes_back_to_the_system(server: Server, task_id: str) -> None:
    before = resident_mb(server.process_id)
    part = b"x" * 2**20
    with connected(server, 7) as connections:
        for connection in connections:
            connection.sendall(head("POST", f"/tasks/{task_id}/predict", f"Content-Length: {30 * len(part)}"))
        for _ in range(29):
            for connection in connections:
                connection.sendall(part)
        wait_until(lambda: resident_mb(server.process_id) - before > 100)
    wait_until(lambda: resident_mb(server.process_id) - before < 60)
