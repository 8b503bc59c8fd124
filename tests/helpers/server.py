"""Start the real thing: `leo serve` as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.ports import free_port
from tests.helpers.tasks import FIVE, create


class Server:
    """A `leo serve` process, its port kept over restarts."""

    def __init__(self, data_dir: Path, *, module: str = "app.cli", **settings: str) -> None:
        data_dir.mkdir(exist_ok=True)
        self._module = module
        self.port = free_port()
        self.log = data_dir / "log"
        self.settings = {key: value for key, value in os.environ.items() if not key.startswith("LEO_")} | {
            "LEO_PORT": str(self.port),
            "LEO_DATA_DIR": str(data_dir),
            "LEO_DEVICE": "cpu",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", self._module, "serve"]
            self._process = subprocess.Popen(command, env=self.settings, cwd=PROJECT, stdout=log, stderr=log)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        assert self._process is not None
        wait_for_url(f"{self.url}/readyz", self._process, self.log)

    def stop(self, how: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.send(how)
        return self.wait_for_exit()

    def send(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def wait_for_exit(self) -> int:
        """Return the exit status, once the process has ended."""
        assert self._process is not None
        status = self._process.wait(60)
        self._process = None
        return status

    def close(self) -> None:
        """End the process if it still runs: as asked, so that its line coverage is written, or else by force."""
        if self._process is not None:
            self.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self.stop(signal.SIGKILL)

    def create_task(self) -> str:
        """Create a task of five characters and return its id."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            response = create(client, FIVE)
        assert response.status_code == 201, response.text
        return str(response.json()["task_id"])

    def predict_ring(self, task_id: str) -> httpx.Response:
        """Ask a task about a drawing of a ring."""
        ring = [("images", ("q", png("ring", 70), "image/png"))]
        return httpx.post(f"{self.url}/tasks/{task_id}/predict", files=ring, timeout=30)


def wait_for_url(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the URL answers 200. Fail at once if the process ends, or after five minutes."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, f"exited with {process.returncode}:\n{log.read_text()}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    pytest.fail(f"{url} did not answer within five minutes:\n{log.read_text()}")
