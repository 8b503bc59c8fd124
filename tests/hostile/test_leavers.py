"""Work for a client that has left does not run. A real server, whose device is held up."""

import contextlib
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until

OWN_TESTS = 8  # images, at most
WAITING = 20  # images of any request here that wait at once, at least: on a slow machine examples wait in parts


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Server]:
    """A server whose device waits while the file `fault` says "hold"."""
    server = Server(
        tmp_path / "data",
        module="tests.helpers.faulty",
        LEO_TEST_FAULT=str(tmp_path / "fault"),
        LEO_WORKERS="1",
        LEO_DEVICE_DEADLINE="120",  # or a device that is held for so long counts as hung
    )
    try:
        server.start()
        yield server
    finally:
        (tmp_path / "fault").unlink(missing_ok=True)
        server.close()


def metric(server: Server, name: str) -> float:
    """Return a metric's value."""
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def send_and_leave(server: Server, path: str, body: bytes) -> None:
    """Send a request of many images, and leave once its work waits for the device.

    The service's own tests of two images each may come to wait meanwhile, or give up.
    """
    before = metric(server, "leo_queue_images")
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: metric(server, "leo_queue_images") >= before + WAITING - OWN_TESTS)
    wait_until(lambda: metric(server, "leo_queue_images") <= before + OWN_TESTS)


def test_requests_of_clients_that_left_leave_the_queue(held: Server, tmp_path: Path) -> None:
    task_id = held.create_task()
    before = metric(held, "leo_batch_images_sum")
    (tmp_path / "fault").write_text("hold")
    support = [{"image": b64encode(png(name)).decode(), "label": name} for name in FIVE for _ in range(20)]
    queries = [b64encode(png("ring", seed)).decode() for seed in range(WAITING)]  # one part
    with ThreadPoolExecutor() as pool:
        stays = pool.submit(held.predict_ring, task_id)
        wait_until((tmp_path / "held").exists)
        for _ in range(3):
            send_and_leave(held, "/tasks", json.dumps({"support": support}).encode())
            send_and_leave(held, f"/tasks/{task_id}/support", json.dumps({"support": support[:50]}).encode())
            send_and_leave(held, f"/tasks/{task_id}/predict", json.dumps({"images": queries}).encode())
        wait_until(lambda: held.log.read_text().count("status=499") == 9)
        (tmp_path / "fault").unlink()
        assert stays.result().status_code == 200
    assert held.predict_ring(task_id).status_code == 200
    # Two predictions and some readiness tests of two images each, adapted and classified; of the others' 510 none.
    assert metric(held, "leo_batch_images_sum") - before < 100
    (task,) = httpx.get(f"{held.url}/tasks").json()["tasks"]
    assert set(task["shots"].values()) == {1}  # no example was added
    log = held.log.read_text()
    assert "Traceback" not in log
    assert "status=500" not in log
