"""The gateway's own configuration, run by a real nginx in front of one real server."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.drawn import CHARACTERS, png
from tests.e2e.cluster import gateway
from tests.e2e.conftest import Server

FIVE = list(CHARACTERS)[:5]


@pytest.fixture
def url(server: Server, tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path, [server]) as url:
        yield url


def test_through_the_gateway(url: str, server: Server, tmp_path: Path) -> None:
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
        assert client.get("/repeatable").status_code == 404  # the gateway's own
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


def test_an_address_that_asks_for_too_much_gets_429(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with contextlib.ExitStack() as held:
        for _ in range(256):  # each holds a connection for a body that does not come
            held.enter_context(socket.create_connection((host, int(port)), timeout=30)).sendall(head)
        deadline = time.monotonic() + 30
        refused = httpx.get(f"{url}/models")
        while refused.status_code == 200:  # the gateway may not have read all of their heads yet
            assert time.monotonic() < deadline
            refused = httpx.get(f"{url}/models")
        assert refused.status_code == 429
        assert refused.json()["detail"].startswith("your address")
        assert refused.headers["retry-after"] == "1"
