"""A real Redis for tests, as durable as the one that `docker-compose.yml` starts."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry


class RedisServer:
    """A `redis-server` process, its port and its data kept over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = int(listening.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and return when it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *durable], stdout=log, stderr=log)
        patient = Retry(ConstantBackoff(0.05), 600, supported_errors=(RedisError, OSError))
        with Redis.from_url(self.url, retry=patient) as client:
            client.ping()

    def send(self, how: signal.Signals) -> None:
        """A signal; SIGSTOP pauses it and SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


def started(folder: Path) -> RedisServer:
    """A running Redis; skips the test where none is installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    server = RedisServer(folder)
    server.start()
    return server
