"""Stores to test: a new SQLite file, an empty Redis, an empty Redis Cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.helpers.redis_server import RedisNodes, RedisServer, started, started_cluster


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis, which tests share."""
    server = started(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the shared Redis, which is empty when the test begins."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    """A running Redis Cluster, which tests share."""
    nodes = started_cluster(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.kill()


@pytest.fixture
def redis_nodes(shared_cluster: RedisNodes) -> RedisNodes:
    """The shared Redis Cluster, which is empty when the test begins."""
    shared_cluster.empty()
    return shared_cluster


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite store may make its file; the folder is not there yet."""
    return tmp_path / "new folder" / "tasks.sqlite3"
