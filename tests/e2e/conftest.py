"""Starts the real thing: `leo serve` as a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


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
            self.wait()

    def wait(self) -> None:
        """Until it is ready."""
        assert self._process is not None
        wait_for(f"{self.url}/readyz", self._process, self.log)

    def stop(self, how: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self._process is not None
        self.send(how)
        return self.ended()

    def send(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def ended(self) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None
        status = self._process.wait(60)
        self._process = None
        return status

    def close(self) -> None:
        if self._process is not None:
            self.stop(signal.SIGKILL)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the URL answers 200; fails at once if the process ends, or after two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, f"exited with {process.returncode}:\n{log.read_text()}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    pytest.fail(f"{url} did not answer within two minutes:\n{log.read_text()}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server with a data folder of its own."""
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.close()
