"""Every way in which a request can fail under load: no other request suffers, and nothing private is logged."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.load import FORM, multipart
from app.http.keys import KeyFile, new_key, write_keys
from tests.helpers import heartbeat
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.waiting import wait_until
from tests.helpers.workers import wait_for_workers, worker_ids

LABEL_NOBODY_MAY_READ, COOKIE_NOBODY_MAY_READ = "label-nobody-may-read", "cookie-nobody-may-read"
ONCE_NOBODY_MAY_READ = "idempotency-key-nobody-may-read"
LABELS = [LABEL_NOBODY_MAY_READ, "tee", "ell"]
QUERY = png("ring", 3)
LEAVERS = 20  # of each kind
LONGEST_DELAY = 3.0  # seconds that the event loop may stand still; the fault made it 5 to 12


class Crowd:
    """Eight clients that predict without a pause, as long as the block lasts."""

    def __init__(self, url: str, headers: dict[str, str], task_id: str) -> None:
        self._url, self._headers, self._path = url, headers, f"/tasks/{task_id}/predict"
        self._ended = threading.Event()
        self.statuses: list[int] = []  # 0: the connection was lost
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=60) as client:
            while not self._ended.is_set():
                try:
                    self.statuses.append(client.post(self._path, files=[("images", ("q", QUERY))]).status_code)
                except httpx.TransportError:
                    self.statuses.append(0)

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Service:
    """A server with keys and two workers. Their event loops are timed, and a file chooses their faults."""

    def __init__(self, folder: Path, log_format: str) -> None:
        key, self.secret = new_key("someone", "someone", ["read", "write", "metrics"])
        write_keys(folder / "keys.json", KeyFile(keys=[key]))
        self.fault, self._delays = folder / "fault", folder / "delays"
        self.data = folder / "data"
        self.server = Server(
            self.data,
            module="tests.helpers.faulty",
            LEO_WORKERS="2",
            LEO_KEYS_FILE=str(folder / "keys.json"),
            LEO_LOG_FORMAT=log_format,
            LEO_TEST_FAULT=str(self.fault),
            LEO_TEST_QUICK="1",
            LEO_TEST_DELAYS=str(self._delays),
        )

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.secret}",
            "Cookie": f"session={COOKIE_NOBODY_MAY_READ}",
            "Idempotency-Key": ONCE_NOBODY_MAY_READ,
        }

    def create(self) -> str:
        images = [("images", ("a", png(name))) for name in ("ring", "tee", "ell")]
        created = httpx.post(
            f"{self.server.url}/tasks", data={"labels": LABELS}, files=images, headers=self.headers, timeout=30
        )
        assert created.status_code == 201, created.text
        return str(created.json()["task_id"])

    def leave_half_way(self, method: str, path: str, content_type: str) -> None:
        """Send a request that declares 5,000 bytes, and leave after a few of them."""
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.server.port))) as connection:
            head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 5000"]
            head += [f"Content-Type: {content_type}", *(f"{name}: {value}" for name, value in self.headers.items())]
            body = f'{{"support": [{{"label": "{LABEL_NOBODY_MAY_READ}"'
            connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())

    def longest_delay(self) -> float:
        """Return the longest time, in seconds, by which a worker's event loop was late."""
        return max(heartbeat.read(self._delays))


@pytest.fixture(params=["text", "json"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, request.param)
    try:
        service.server.start()
        wait_for_workers(service.server, 2)
        yield service
    finally:
        service.server.close()
    log = service.server.log.read_text()
    for private in (
        service.secret,
        LABEL_NOBODY_MAY_READ,
        COOKIE_NOBODY_MAY_READ,
        ONCE_NOBODY_MAY_READ,
        base64.b64encode(QUERY).decode()[:40],
        str(QUERY[:20])[2:-1],
    ):
        assert private not in log

    assert service.longest_delay() < LONGEST_DELAY


def statuses_in(log: str) -> list[int]:
    """Return the statuses in the lines of requests, in either format."""
    found = []
    for line in log.splitlines():
        if "app.requests" in line:
            as_json = line.startswith("{")
            found.append(json.loads(line)["status"] if as_json else int(line.split("status=")[1].split()[0]))
    return found


def test_clients_that_leave_half_way_harm_nobody(service: Service) -> None:
    task_id = service.create()
    before = set(worker_ids(service.server))
    kinds = [
        ("POST", "/tasks", "application/json"),
        ("POST", "/tasks", "multipart/form-data; boundary=x"),
        ("POST", f"/tasks/{task_id}/predict", "application/json"),
        ("POST", f"/tasks/{task_id}/predict?top_k=2", "multipart/form-data; boundary=x"),
        ("POST", f"/tasks/{task_id}/support", "application/json"),
        ("POST", "/tasks/import", "application/octet-stream"),
        ("PATCH", f"/tasks/{task_id}", "application/json"),
    ]
    with Crowd(service.server.url, service.headers, task_id) as crowd:
        for _ in range(LEAVERS):
            for kind in kinds:
                service.leave_half_way(*kind)
        left = LEAVERS * len(kinds)
        wait_until(lambda: statuses_in(service.server.log.read_text()).count(499) == left)
        wait_until(lambda: len(crowd.statuses) > 50)
    assert set(crowd.statuses) == {200}
    log = service.server.log.read_text()
    assert 500 not in statuses_in(log)
    assert "Traceback" not in log
    assert "[error" not in log
    assert '"level": "error"' not in log
    assert set(worker_ids(service.server)) == before


@pytest.mark.parametrize("fault", ["raise", "handler"])
def test_a_failing_device_or_handler_recovers(service: Service, fault: str) -> None:
    task_id = service.create()
    with Crowd(service.server.url, service.headers, task_id) as crowd:
        wait_until(lambda: len(crowd.statuses) > 50)
        service.fault.write_text(fault)
        wait_until(lambda: crowd.statuses.count(500) > 100)
        service.fault.unlink()
        recovered = len(crowd.statuses)
        wait_until(lambda: 200 in crowd.statuses[recovered:])
    assert set(crowd.statuses) <= {200, 500, 503, 0}
    assert "Traceback" in service.server.log.read_text()


def test_a_500_is_an_answer_like_any_other(service: Service) -> None:
    path = f"/tasks/{service.create()}/predict"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=30)) as connection:

        def ask() -> http.client.HTTPResponse:
            headers = {"X-Request-ID": "mine", "Content-Type": FORM, **service.headers}
            connection.request("POST", path, multipart([QUERY]), headers)
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

        service.fault.write_text("handler")
        for _ in range(3):  # all on one connection, which the client keeps
            answer = ask()
            assert answer.status == 500
            assert answer.headers["X-Request-ID"] == "mine"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Connection"] != "close"
            assert "its log says why" in json.loads(answer.body)["detail"]  # type: ignore[attr-defined]
        service.fault.unlink()
        assert ask().status == 200


def test_predictions_go_on_while_the_store_is_locked(service: Service) -> None:
    """Another program holds the database: creations are refused meanwhile."""
    task_id = service.create()
    headers = {name: value for name, value in service.headers.items() if name != "Idempotency-Key"}
    images = [("images", ("a", png(name))) for name in ("ring", "tee", "ell")]
    with (
        contextlib.closing(sqlite3.connect(service.data / "tasks.sqlite3", isolation_level=None)) as other,
        Crowd(service.server.url, service.headers, task_id) as crowd,
    ):
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            refused = httpx.post(
                f"{service.server.url}/tasks", data={"labels": LABELS}, files=images, headers=headers, timeout=30
            )
            assert refused.status_code == 503
        wait_until(lambda: len(crowd.statuses) > 50)
    assert set(crowd.statuses) == {200}


def test_a_killed_worker_costs_only_its_own_connections(service: Service) -> None:
    task_id = service.create()
    with Crowd(service.server.url, service.headers, task_id) as crowd:
        for _ in range(2):
            before = worker_ids(service.server)
            os.kill(before[0], signal.SIGKILL)
            wait_until(lambda before=before: before[0] not in worker_ids(service.server))
            wait_until(lambda: len(worker_ids(service.server)) == 2)
    assert set(crowd.statuses) <= {200, 0}
