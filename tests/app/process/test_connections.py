"""Connections of one process: which one makes room for another, and how many the system allows."""

import resource
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.process.connections import CONNECTIONS, PIPELINED_REQUESTS, SPARE_FILES, Connections, allow_open_files

MOST = 5
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def app(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, http=Connections(MOST), ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]
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


def test_as_many_files_are_allowed_as_connections_need() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS // 2, before[1]))
        assert allow_open_files() == CONNECTIONS
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == CONNECTIONS + SPARE_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
