"""A deployment without containers: nginx with deploy/nginx.conf, three `leo serve`, one Redis."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from app.settings import PROJECT
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer, started
from tests.helpers.server import Server, wait_for_url


class Cluster:
    """The parts of a deployment, each of which can be killed and started again, and the gateway's URL."""

    def __init__(self, url: str, replicas: list[Server], redis: RedisServer) -> None:
        self.url, self.replicas, self.redis = url, replicas, redis


class Replica(Protocol):
    """What the gateway has as a replica."""

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""


@contextlib.contextmanager
def gateway(folder: Path, replicas: Sequence[Replica], override: str = "") -> Iterator[str]:
    """Run nginx with the project's configuration, except for addresses and paths. Yields its URL."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    port = free_port()
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    addresses = [
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("pid /tmp/nginx.pid;", f"pid {folder}/nginx.pid;"),
        ("include /etc/nginx/leo.d/*.conf;", f"include {folder}/leo.d/*.conf;"),
        *((f"server leo-{n + 1}:8000 ", f"server 127.0.0.1:{replicas[n % len(replicas)].port} ") for n in range(3)),
    ]
    for there, here in addresses:
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    (folder / "nginx.conf").write_text(text)
    (folder / "leo.d").mkdir(exist_ok=True)
    (folder / "leo.d" / "override.conf").write_text(override)
    log = folder / "nginx.log"
    with log.open("wb") as output:
        command = [nginx, "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for_url(f"http://127.0.0.1:{port}/readyz", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def running(folder: Path, replicas: int = 3) -> Iterator[Cluster]:
    """A running deployment."""
    (folder / "redis").mkdir()
    redis = started(folder / "redis")
    servers = [Server(folder / f"replica{n}", LEO_STORE_URL=redis.url) for n in range(replicas)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, servers))
        with gateway(folder, servers) as url:
            yield Cluster(url, servers, redis)
    finally:
        for server in servers:
            server.close()
        redis.kill()
