"""A real Redis for tests, as durable as the one that `docker-compose.yml` starts."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.helpers.ports import free_port

#: Seconds within which a store's call must fail while Redis does not answer. It promises one; slow machines get more.
CALL_DEADLINE = 5.0


class RedisServer:
    """A `redis-server` process, its port and its data kept over restarts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and return when it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *durable, *self._options], stdout=log, stderr=log)
        patient = Retry(ConstantBackoff(0.05), 600, supported_errors=(RedisError, OSError))
        with Redis.from_url(self.url, retry=patient) as client:
            client.ping()

    def send(self, how: signal.Signals) -> None:
        """Send a signal: SIGSTOP pauses the server, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


class RedisNodes:
    """A Redis Cluster of three nodes, each with a third of the slots and no copy."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[RedisServer] = []
        for n in range(3):
            (folder / str(n)).mkdir()
            # Its bus listens 10,000 further on by default, where there may be no port.
            options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
            self.nodes.append(RedisServer(folder / str(n), *options, "--cluster-port", str(free_port())))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start, and return when every node knows who has which slots."""
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        join = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(join, check=True, capture_output=True, timeout=60)
        patient = Retry(ConstantBackoff(0.05), 600, supported_errors=(NotYet,))
        for node in self.nodes:
            with Redis.from_url(node.url) as client:
                patient.call_with_retry(lambda client=client: all_slots(client), lambda _: None)

    def empty(self) -> None:
        for node in self.nodes:
            with Redis.from_url(node.url) as client:
                client.flushall()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


class NotYet(Exception):
    """Some node does not know yet who has which slots."""


def all_slots(client: Redis) -> None:
    says = client.execute_command("CLUSTER INFO")
    if (says["cluster_state"], says["cluster_slots_ok"]) != ("ok", "16384"):
        raise NotYet


def started(folder: Path) -> RedisServer:
    """Return a running Redis. Skips the test where none is installed."""
    server = RedisServer(_installed(folder))
    server.start()
    return server


def started_cluster(folder: Path) -> RedisNodes:
    """Return a running Redis Cluster. Skips the test where Redis is not installed."""
    cluster = RedisNodes(_installed(folder))
    cluster.start()
    return cluster


def _installed(folder: Path) -> Path:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    return folder
