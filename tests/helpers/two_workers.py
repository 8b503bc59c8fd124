"""A server of two workers on a store of either kind, asked so that either worker may answer."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.redis_server import RedisServer
from tests.helpers.server import Server
from tests.helpers.workers import wait_for_workers


@contextlib.contextmanager
def two_workers(store: str, folder: Path) -> Iterator[Server]:
    """A running server of two workers, as long as the block lasts; `store` is sqlite or redis."""
    settings = {"LEO_WORKERS": "2"}
    redis = None
    if store == "redis":
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        redis = RedisServer(folder)
        redis.start()
        settings["LEO_STORE_URL"] = redis.url
    server = Server(folder / "data", **settings)
    try:
        server.start()
        wait_for_workers(server, 2)
        yield server
    finally:
        server.close()
        if redis is not None:
            redis.kill()


def ask(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask on a new connection."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return client.request(method, path, **options)
