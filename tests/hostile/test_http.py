"""HTTP as few clients speak it, and what is none: each gets an answer, an id and a line in the log. Raw sockets."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.server import Server

HEAD = b"Host: 127.0.0.1\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("http"), LEO_LOG_FORMAT="json")
    server.start()
    yield server
    server.close()


def send(server: Server, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        received = b""
        while more := connection.recv(2**16):
            received += more
    return received


def logged(log: Path, request_id: str) -> dict[str, object]:
    """The line of a request in the log."""
    (line,) = [line for line in log.read_text().splitlines() if request_id in line]
    found: dict[str, object] = json.loads(line)
    return found


NO_HTTP = {
    "noise": b"\x00\x01\x02\x03\x04\x05\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "an unknown method": b"BREW / HTTP/1.1\r\n" + HEAD + b"\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n" + HEAD + b"\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n" + HEAD + b"\r\n",
    "two lengths": b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": (
        b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a negative length": b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
    "a length beyond numbers": b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "an unknown framing": b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "a chunk of no size": b"POST /tasks HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a path that is no ASCII": b"GET /\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a target that is no path": b"GET tasks HTTP/1.1\r\n" + HEAD + b"\r\n",
}


@pytest.mark.parametrize("kind", NO_HTTP)
def test_what_is_no_http_gets_a_problem_an_id_and_a_line_in_the_log(server: Server, kind: str) -> None:
    answer = send(server, NO_HTTP[kind])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 4\d\d ", head), answer
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["detail"]
    found = re.search(rb"(?i)x-request-id: (\w+)", head)
    assert found, head
    line = logged(server.log, found[1].decode())
    assert (line["event"], line["status"]) == ("request", int(head[9:12]))
    assert b"nosniff" in head


def test_a_url_that_is_no_ascii_is_answered_with_how_to_write_it(server: Server) -> None:
    """As curl sends what is typed."""
    answer = send(server, "GET /tasks?name=café HTTP/1.1\r\n".encode() + HEAD + b"\r\n")
    assert b"percent-encoded, as %20 and %C3%A9" in answer


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("two lengths", "Duplicate Content-Length"),
        ("a length and chunks", "can't be present with"),
        ("a negative length", "Content-Length"),
        ("a length beyond numbers", "Content-Length overflow"),
        ("a chunk of no size", "chunk size"),
        ("HTTP/9", "HTTP version"),
        ("an unknown method", "method"),
        ("a header without a name", "header"),
        ("an unknown framing", "Transfer-Encoding"),
    ],
)
def test_the_answer_says_what_is_wrong_with_the_framing(server: Server, kind: str, words: str) -> None:
    answer = send(server, NO_HTTP[kind])
    detail = json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert words in detail
    assert "percent-encoded" not in detail
