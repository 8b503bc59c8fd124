"""The protocol over a real socket: head and body leave in one write, and no answer is held back."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.process.answers import SingleWriteProtocol


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    while path == "/read" and (await receive()).get("more_body"):
        pass
    size = b"0" if path == "/empty" else b"5"
    headers = [] if path == "/stream" else [(b"content-length", size)]
    await send({"type": "http.response.start", "status": 204 if path == "/empty" else 200, "headers": headers})
    if path == "/crash":
        raise RuntimeError("between head and body")
    if path == "/stream":
        # A body may look like a head.
        await send({"type": "http.response.body", "body": b"HTTP/1.1 200 OK", "more_body": True})
    await send({"type": "http.response.body", "body": b"" if path == "/empty" else b"whole"})


WRITTEN: list[bytes] = []  # the data of each write


class RecordingTransport:
    """A transport that records its writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        WRITTEN.append(data)
        self._transport.write(data)


class RecordingProtocol(SingleWriteProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(RecordingTransport(transport))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=RecordingProtocol, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected:
        yield connected


def ask(connection: socket.socket, path: str, method: str = "GET", *headers: str) -> None:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def test_head_and_body_leave_together(connection: socket.socket) -> None:
    WRITTEN.clear()
    ask(connection, "/")
    answer = b""
    while not answer.endswith(b"\r\n\r\nwhole"):
        answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [answer] == WRITTEN


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("GET", "/empty")])
def test_a_head_without_a_body_is_not_held_back(connection: socket.socket, method: str, path: str) -> None:
    for _ in range(2):
        ask(connection, path, method)
        assert connection.recv(65536).endswith(b"\r\n\r\n")


def test_a_streamed_body_is_as_it_was_sent(connection: socket.socket) -> None:
    ask(connection, "/stream")
    answer = b""
    while not answer.endswith(b"0\r\n\r\n"):
        answer += connection.recv(65536)
    assert answer.partition(b"\r\n\r\n")[2] == b"f\r\nHTTP/1.1 200 OK\r\n5\r\nwhole\r\n0\r\n\r\n"


def test_100_continue_is_sent_at_once(connection: socket.socket) -> None:
    ask(connection, "/read", "POST", "Content-Length: 3", "Expect: 100-continue")
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"abc")
    assert connection.recv(65536).endswith(b"\r\n\r\nwhole")


def test_an_invalid_request_gets_400(connection: socket.socket) -> None:
    connection.sendall(b"nonsense\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    assert connection.recv(65536) == b""


def test_an_app_that_fails_after_the_head_closes_the_connection(connection: socket.socket) -> None:
    ask(connection, "/crash")
    answer = b""
    while more := connection.recv(65536):
        answer += more
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
