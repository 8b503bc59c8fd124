"""The gateway's configuration, run by a real nginx in front of one real server."""

import contextlib
import http.client
import json
import select
import socket
import socketserver
import ssl
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from app.process.connections import URL_BYTES
from app.settings import PROJECT
from tests.helpers.cluster import gateway
from tests.helpers.drawn import png
from tests.helpers.ports import free_port
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until


@pytest.fixture
def url(server: Server, tmp_path: Path) -> Iterator[str]:
    """The gateway's URL."""
    with gateway(tmp_path, [server]) as url:
        yield url


def test_calls_answers_and_errors_pass_through_the_gateway(url: str, server: Server, tmp_path: Path) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        images = [("images", (name, png(name), "image/png")) for name in FIVE]
        created = client.post("/tasks", data={"labels": FIVE}, files=images)
        assert created.status_code == 201
        queries = [("images", (name, png(name, 80), "image/png")) for name in FIVE]
        answer = client.post(f"{created.headers['location']}/predict", files=queries)
        assert [prediction["label"] for prediction in answer.json()["predictions"]] == FIVE

        once = {"Idempotency-Key": "through-the-gateway"}
        first, second = (client.post("/tasks", data={"labels": FIVE}, files=images, headers=once) for _ in range(2))
        assert first.status_code == 201
        assert second.json() == first.json()
        for path in ("/repeatable", "/once/tasks", "/problem"):  # what the gateway has of its own is not to be seen
            assert client.get(path).json() == client.get("/nothing").json()
        assert client.get("/tasks", params={"limit": 1}, headers=once).json()["tasks"] == [first.json()]

        too_large = client.post("/tasks", content=b"x" * (33 * 2**20))
        assert too_large.status_code == 413
        assert too_large.headers["content-type"] == "application/problem+json"
        assert too_large.json()["status"] == 413

        line = (tmp_path / "nginx.log").read_text()
        assert "request_id=" in line
        assert "upstream_time=0." in line

        server.close()
        down = client.get("/models")
        assert down.status_code == 503
        assert down.headers["retry-after"] == "1"
        assert down.json()["detail"].startswith("no replica answers")


MALFORMED = {
    "nonsense": (b"nonsense\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "an escape of nothing": (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a long URL": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "a large body": (b"POST /tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
    "a large body to delete": (b"DELETE /tasks/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
    "an unknown encoding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n", 501),
    "an unknown version": (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505),
}


def test_what_the_gateway_refuses_it_says_as_the_service_does(url: str) -> None:
    there = httpx.URL(url)
    for name, (request, status) in MALFORMED.items():
        with socket.create_connection((there.host, there.port or 80), timeout=30) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            problem = json.loads(answer.read())
        assert (name, answer.status, problem["status"]) == (name, status, status)
        assert problem["type"] == "about:blank"
        assert problem["title"]
        assert problem["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"]


def test_a_large_body_that_is_answered_early_costs_nobody_a_replica(url: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        for _ in range(4):
            assert client.post("/nothing", content=b"x" * 2**25).status_code == 404
            assert client.get("/models").status_code == 200
    assert "upstream" not in errors_of(tmp_path)


def test_an_answer_that_repeats_the_longest_url_costs_nobody_a_replica(url: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        for path in ("/docs/", "/tasks/"):
            # nginx allows 8 KiB for the whole of a request's first line.
            answer = client.get(f"{path}?x={'a' * (URL_BYTES - len('GET ?x= HTTP/1.1') - len(path) - 2)}")
            assert answer.status_code == 307
            assert client.get("/models").status_code == 200
    assert "upstream" not in errors_of(tmp_path)


def errors_of(folder: Path) -> str:
    """What nginx complains of in its log. That a large body goes through a file is no complaint."""
    lines = (folder / "nginx.log").read_text().splitlines()
    return "\n".join(line for line in lines if ("[error]" in line or "[warn]" in line) and "buffered" not in line)


def test_the_tls_override_serves_https(server: Server, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for n, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(tmp_path / "cert.pem", append=n > 0)
    port, override = free_port(), (PROJECT / "deploy" / "tls.conf").read_text()
    for there, here in (
        ("listen 8443 ", f"listen 127.0.0.1:{port} "),
        ("/run/secrets/certificate_key;", f"{tmp_path}/key.pem;"),
        ("/run/secrets/certificate;", f"{tmp_path}/cert.pem;"),
    ):
        assert override.count(there) == 1, there
        override = override.replace(there, here)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with gateway(tmp_path, [server], override), httpx.Client(verify=trusting, timeout=30) as client:
        images = [("images", (name, png(name), "image/png")) for name in FIVE]
        created = client.post(f"https://localhost:{port}/tasks", data={"labels": FIVE}, files=images)
        assert created.status_code == 201
        assert created.headers["strict-transport-security"].startswith("max-age=")
        refused = client.request("TRACE", f"https://localhost:{port}/tasks")
        assert refused.status_code == 405
        assert refused.headers["strict-transport-security"].startswith("max-age=")
        assert client.get(f"https://localhost:{port}{created.headers['location']}").json() == created.json()
        plain = client.get(f"http://localhost:{port}/tasks?limit=1")
        assert (plain.status_code, plain.headers["location"]) == (308, f"https://localhost:{port}/tasks?limit=1")
        old = ssl.create_default_context()
        authority.configure_trust(old)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # TLS 1.1 is deprecated, which is why it must be refused
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://localhost:{port}/models", verify=old)


def test_an_address_that_asks_for_too_much_gets_429(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with contextlib.ExitStack() as held:
        for _ in range(256):  # each holds a connection for a body that does not come
            held.enter_context(socket.create_connection((host, int(port)), timeout=30)).sendall(head)
        # The gateway may not have read all of their heads yet.
        wait_until(lambda: httpx.get(f"{url}/models").status_code != 200)
        refused = httpx.get(f"{url}/models")
        assert refused.status_code == 429
        assert refused.json()["detail"].startswith("your address")
        assert refused.headers["retry-after"] == "1"


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_an_address_with_many_large_bodies_under_way_may_still_send_small_ones(url: str, framing: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n".encode()
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(9)]
        for connection in connections:
            connection.sendall(head)
        (refused,), _, _ = select.select(connections, [], [], 15)  # nginx's processes may take any of them last
        assert refused.recv(20).startswith(b"HTTP/1.1 429")
        assert httpx.get(f"{url}/models").status_code == 200
        assert httpx.post(f"{url}/tasks", content=b"x" * 999_999).status_code == 415
        assert httpx.post(f"{url}/tasks", content=b"x" * 2**20).status_code == 429


class CutOff(socketserver.StreamRequestHandler):
    """A replica that dies when it has done what it was asked: it passes requests on, and no answer back."""

    there: int  # the port of the server that does it
    deletions: int

    def handle(self) -> None:
        request = self.request.recv(65536)
        type(self).deletions += request.startswith(b"DELETE ")
        with socket.create_connection(("127.0.0.1", self.there), timeout=30) as connection:
            connection.sendall(request)
            connection.recv(1)  # the answer has begun, so it is done


class CutOffServer(socketserver.ThreadingTCPServer):
    """Serves with `CutOff`."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


def test_a_deletion_that_was_made_is_not_answered_as_one_of_nothing(server: Server, tmp_path: Path) -> None:
    CutOff.there, CutOff.deletions = server.port, 0
    with CutOffServer(("127.0.0.1", 0), CutOff) as cut_off:
        threading.Thread(target=cut_off.serve_forever, daemon=True).start()
        try:
            with gateway(tmp_path, [cut_off, server]) as url:

                def delete() -> bool:
                    """Delete a task through the gateway, which leaves out a replica for a while after it failed."""
                    task_id = server.create_task()
                    deleted = httpx.delete(f"{url}/tasks/{task_id}", timeout=30)
                    assert deleted.status_code in (204, 503), deleted.text
                    assert httpx.get(f"{server.url}/tasks/{task_id}").status_code == 404
                    return CutOff.deletions > 0 and deleted.status_code == 204

                wait_until(delete)
        finally:
            cut_off.shutdown()
