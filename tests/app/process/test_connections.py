"""Connections of one process: which one makes room for another, and how many the system allows."""

import resource
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.process.connections import (
    CHUNK_BYTES,
    CHUNKS,
    HEADERS,
    PIPELINED_REQUESTS,
    URL_BYTES,
    BoundedProtocol,
)
from app.process.open_connections import CONNECTIONS, OPEN_FILES, OpenConnections, allow_open_files

MOST, MAX_BODY = 5, 2**25
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BODY = REQUEST.replace(b"/ ", b"/smuggled ")  # looks like a request
REFUSED = b"POST /refused HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def refusal(scope: Scope) -> bytes | None:
    return b"content-length: 4\r\n\r\nbusy" if scope["path"] == "/refused" else None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    if scope["path"] == "/echo":
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (len(body) + 2))]}
    )
    await send({"type": "http.response.body", "body": body + b"ok"})


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        http = partial(BoundedProtocol, OpenConnections(MOST), MAX_BODY, refusal)
        config = uvicorn.Config(app, http=http, ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def is_answered(connection: socket.socket) -> bool:
    try:
        connection.sendall(REQUEST)
        received = b""
        while not received.endswith(b"ok"):
            if not (more := connection.recv(65536)):
                return False
            received += more
    except ConnectionError:
        return False
    return True


def test_the_connection_that_has_waited_longest_for_its_client_makes_room(port: int) -> None:
    connections = [connect(port) for _ in range(MOST)]
    assert all(map(is_answered, connections))
    assert is_answered(connections[0])  # now the second has waited longest
    connections.append(connect(port))
    assert is_answered(connections[-1])
    assert [is_answered(connection) for connection in connections] == [True, False, True, True, True, True]
    for connection in connections:
        connection.close()


def test_a_few_pipelined_requests_are_answered_in_their_order(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(REQUEST * PIPELINED_REQUESTS)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < PIPELINED_REQUESTS or not received.endswith(b"ok"):
            more = connection.recv(65536)
            assert more
            received += more
        assert is_answered(connection)


def test_of_too_many_pipelined_requests_the_first_are_answered(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(REQUEST * 500)
        received = b""
        while more := connection.recv(65536):
            received += more
    assert received.count(b"HTTP/1.1 200 OK") == PIPELINED_REQUESTS + 1
    assert received.count(b"connection: close") == 1


def received(connection: socket.socket, answers: int) -> bytes:
    found = b""
    while found.count(b"HTTP/1.1 ") < answers or not found.endswith((b"busy", b"ok")):
        more = connection.recv(65536)
        assert more
        found += more
    return found


def test_a_refused_request_is_answered_before_its_body_comes_and_the_body_is_no_request(port: int) -> None:
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(REFUSED[: -len(BODY)])
            assert received(connection, 1).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            for part in (BODY[:9], BODY[9:] + REQUEST):
                connection.sendall(part)
            assert received(connection, 1).startswith(b"HTTP/1.1 200 OK\r\n")


def test_refusals_and_answers_are_in_the_order_of_the_requests(port: int) -> None:
    with connect(port) as connection:
        connection.sendall((REQUEST + REFUSED + REFUSED) * 2 + REQUEST)
        answers = received(connection, 7)
        statuses = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"503", b"503"] * 2 + [b"200"]
        assert is_answered(connection)


def test_a_client_that_was_refused_can_be_the_one_that_has_waited_longest(port: int) -> None:
    connections = [connect(port) for _ in range(MOST)]
    for connection in connections:
        connection.sendall(REFUSED)
        received(connection, 1)
    connections.append(connect(port))
    assert is_answered(connections[-1])
    assert [is_answered(connection) for connection in connections] == [False, True, True, True, True, True]
    for connection in connections:
        connection.close()


def test_requests_before_one_that_is_none_are_answered(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(REQUEST * 2 + b"GARBAGE\r\n\r\n")
        received = b""
        while more := connection.recv(65536):
            received += more
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith(b"ok")


def test_of_a_read_full_of_tiny_chunks_only_the_first_are_parsed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = list[int]()
    on_body = BoundedProtocol.on_body

    def counted(self: BoundedProtocol, body: bytes) -> None:
        parsed.append(len(body))
        on_body(self, body)

    monkeypatch.setattr(BoundedProtocol, "on_body", counted)
    with connect(port) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 43_000
        )
        while connection.recv(65536):
            pass
    assert len(parsed) == CHUNKS + 1


def exchanged(port: int, request: bytes) -> bytes:
    """All that the server answers to a request, until it closes the connection."""
    with connect(port) as connection:
        connection.sendall(request)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize("size", [1, CHUNK_BYTES])
def test_many_chunks_are_read_if_they_are_not_tiny(port: int, size: int) -> None:
    chunks = b"".join([b"%x\r\n%b\r\n" % (size, b"a" * size)] * (CHUNKS + 1 if size == CHUNK_BYTES else CHUNKS))
    head = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchanged(port, head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_request_has_a_bounded_number_of_headers(port: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    assert exchanged(port, head + b"a: b\r\n" * (HEADERS - 2) + b"\r\n").startswith(b"HTTP/1.1 200")
    answer = exchanged(port, head + b"a: b\r\n" * (HEADERS - 1) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    assert b"more than 128 headers" in answer


def test_a_url_has_a_bounded_length(port: int) -> None:
    ends = b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    assert exchanged(port, b"GET /" + b"a" * (URL_BYTES - 1) + ends).startswith(b"HTTP/1.1 200")
    assert exchanged(port, b"GET /" + b"a" * URL_BYTES + ends).startswith(b"HTTP/1.1 414")


def test_as_many_files_are_allowed_as_connections_need() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS // 2, before[1]))
        assert allow_open_files() == CONNECTIONS
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(OPEN_FILES, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("headers", [1, HEADERS])  # a request that the app answers, and one that never reaches it
def test_the_whole_of_a_body_is_taken_though_its_answer_was_sent_before(port: int, headers: int) -> None:
    with connect(port) as connection:
        own = b"".join(b"x-%d: \r\n" % n for n in range(headers))
        connection.sendall(b"POST / HTTP/1.1\r\nHost: test\r\n%bContent-Length: %d\r\n\r\n" % (own, MAX_BODY))
        assert connection.recv(2**16)
        for _ in range(MAX_BODY // 2**16):
            connection.sendall(bytes(2**16))


OFFERS = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "WebSocket": b"connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n",
}
FRAMED = {
    "length": b"Content-Length: 7\r\n\r\nexample",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n7\r\nexample\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framed", FRAMED)
def test_a_request_that_offers_another_protocol_keeps_its_body(port: int, offer: str, framed: str) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: test\r\n" + OFFERS[offer] + FRAMED[framed]
    with connect(port) as connection:
        connection.sendall(request * 3)
        answers = received(connection, 3)
        assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"exampleok") == 3
        for part in (request[:50], request[50:-3], request[-3:]):
            connection.sendall(part)
        assert received(connection, 1).endswith(b"exampleok")
        assert is_answered(connection)


def test_many_offers_in_one_read_are_answered_or_refused_in_order(port: int) -> None:
    offer = b"GET /refused HTTP/1.1\r\nHost: test\r\n" + OFFERS["HTTP/2"] + b"\r\n"
    with connect(port) as connection:
        connection.sendall(offer * 1000)
        assert received(connection, 1000).count(b"busy") == 1000
        assert is_answered(connection)


def test_a_tunnel_is_refused_with_the_reason_and_ends_the_connection(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n" + REQUEST)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"CONNECT asks for a proxy" in answer
