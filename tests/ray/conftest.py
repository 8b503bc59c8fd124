"""Fixtures for the tests on Ray, which need the extra `ray` and some minutes: make test-ray."""

from collections.abc import Iterator

import pytest

from tests.helpers.redis_server import RedisServer, started
from tests.ray.cluster import RayCluster, running_on_ray


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = started(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def cluster(store: RedisServer) -> Iterator[RayCluster]:
    """Two nodes, a replica on each."""
    with running_on_ray(store.url, nodes=2, LEO_MAX_BODY_BYTES="100000") as cluster:
        cluster.deploy(2, max_replicas_per_node=1)
        yield cluster
