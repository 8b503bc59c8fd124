"""One disk for everything, which callers fill: the service goes on answering, and tasks can be deleted."""

import os
from pathlib import Path

import httpx

from tests.helpers.server import Server
from tests.helpers.small_disk import small_disk
from tests.helpers.workers import wait_for_workers, worker_ids


def test_a_full_disk_ends_no_worker(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        (disk / "tmp").mkdir()
        server = Server(disk / "data", LEO_WORKERS="2", TMPDIR=str(disk / "tmp"))
        server.log = tmp_path / "log"
        try:
            server.start()
            wait_for_workers(server, 2)
            task_id, workers = server.create_task(), worker_ids(server)
            fill(disk / "other")
            calls = [
                ("GET", "/tasks"),
                ("GET", "/nothing"),
                ("GET", "/metrics"),
                ("PUT", "/tasks"),
                ("GET", "/healthz"),
            ]
            for _ in range(10):  # each on a new connection, so that both workers count every kind of answer
                answers = [httpx.request(method, f"{server.url}{path}", timeout=30) for method, path in calls]
                assert [answer.status_code for answer in answers] == [200, 404, 200, 405, 200]
                assert server.predict_ring(task_id).status_code == 200
            assert worker_ids(server) == workers
            assert httpx.delete(f"{server.url}/tasks/{task_id}", timeout=30).status_code == 204
        finally:
            server.close()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(os.urandom(4096)):
                pass
        except OSError:
            return
