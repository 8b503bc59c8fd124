"""A new user's path with curl alone, and what must survive a kill."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.helpers.curl import EXPECTED, create_with_curl, predict_with_curl, write_drawings
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until
from tests.helpers.workers import wait_for_workers, worker_ids


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_enough_and_a_task_survives_kill_9(server: Server, tmp_path: Path) -> None:
    write_drawings(tmp_path)
    task_id = create_with_curl(server.url, tmp_path)["task_id"]
    assert predict_with_curl(server.url, task_id, tmp_path) == EXPECTED
    server.stop(signal.SIGKILL)
    server.start()
    assert predict_with_curl(server.url, task_id, tmp_path) == EXPECTED


def test_no_acknowledged_task_is_lost_in_kills_under_load(server: Server) -> None:
    acknowledged: list[str] = []
    images = [("images", (name, png(name), "image/png")) for name in FIVE]

    def create_until(stop: threading.Event) -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                try:
                    response = client.post("/tasks", data={"labels": FIVE}, files=images)
                except httpx.TransportError:
                    return
                assert response.status_code == 201, response.text
                acknowledged.append(response.json()["task_id"])

    kills = 3
    for round_ in range(1, kills + 1):
        stop = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            creating = [pool.submit(create_until, stop) for _ in range(4)]
            while len(acknowledged) < 20 * round_:
                assert not all(thread.done() for thread in creating)
            server.stop(signal.SIGKILL)
            stop.set()
            for thread in creating:
                thread.result()
        server.start()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        query = [("images", ("q", png("ring", 70), "image/png"))]
        answers = [client.post(f"/tasks/{task_id}/predict", files=query) for task_id in acknowledged]
    lost = [answer for answer in answers if answer.status_code != 200]
    print(f"{kills} kills, {len(acknowledged)} acknowledged tasks, {len(lost)} lost")  # noqa: T201
    assert lost == []
    assert {answer.json()["predictions"][0]["label"] for answer in answers} == {"ring"}


def test_sigterm_ends_the_service_cleanly(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_pressed_again_drops_nothing_that_was_accepted(tmp_path: Path, workers: str) -> None:
    """A terminal sends it to all processes of the service."""
    server = Server(tmp_path / "data", LEO_WORKERS=workers)
    with contextlib.closing(server):
        server.start()
        wait_for_workers(server, int(workers))
        processes = [server.process_id, *worker_ids(server)]
        form = httpx.Request("POST", server.url, data={"labels": FIVE}, files=[("images", png(each)) for each in FIVE])
        body = form.read()
        head = f"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        head += f"Content-Type: {form.headers['content-type']}\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it was accepted
            for _ in range(3):
                for each in processes:
                    os.kill(each, signal.SIGINT)
                wait_until(lambda: refuses(server.port))
            connection.sendall(body)
            assert b"HTTP/1.1 201 " in b"".join(iter(lambda: connection.recv(65536), b""))
        assert server.wait_for_exit() in (0, 130, -signal.SIGINT)
        assert "Traceback" not in server.log.read_text()


def refuses(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"LEO_PORT": "many"}, "LEO_PORT: "),
        ({"LEO_DEVICE": "tpu"}, "LEO_DEVICE: "),
        ({"LEO_WEIGHTS": "/nowhere"}, "/nowhere/config.json is missing"),
        ({"LEO_DATA_DIR": "/dev/null/x"}, "cannot use the task store"),
        ({"LEO_KEYS_FILE": "/nowhere/keys.json", "LEO_WORKERS": "2"}, "/nowhere/keys.json"),
        ({"LEO_IMAGE_HOSTS": "two words", "LEO_WORKERS": "2"}, "two words"),
        ({"LEO_WEIGHTS": "/nowhere", "LEO_WORKERS": "2"}, "/nowhere/config.json is missing"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("leo")), "serve"]
    environment = os.environ | {"LEO_DATA_DIR": str(tmp_path), "LEO_PORT": "0"} | settings
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    said_lines = [line for line in (done.stdout + done.stderr).splitlines() if said in line]
    assert len(said_lines) == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "listening on" not in done.stderr + done.stdout


def test_a_server_with_too_few_files_says_so_in_one_line(tmp_path: Path) -> None:
    leo = Path(sys.executable).with_name("leo")
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 64 && exec {leo} serve"],
        env=os.environ | {"LEO_DATA_DIR": str(tmp_path), "LEO_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "allow at least 1024 (`ulimit -n 1024`)" in done.stderr
    assert "Traceback" not in done.stderr
