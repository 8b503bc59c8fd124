"""More replicas while more is asked. In a module of its own: the other's cluster lives as long as its module."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.tasks import make_tasks, predict_each
from tests.ray.cluster import running, running_on_ray, wait_until
from tests.redis_server import RedisServer

pytestmark = pytest.mark.filterwarnings("default")


def test_a_second_replica_comes_with_load(store: RedisServer) -> None:
    with running_on_ray(store.url, nodes=1, cpus=2) as cluster:
        cluster.deploy(1, most=2)
        tasks = make_tasks(cluster.url, 5)
        with ThreadPoolExecutor(1) as pool:
            # More at a time than the 8 that serve.yaml wants of a replica, and for longer than Ray looks on.
            asking = pool.submit(predict_each, cluster.url, tasks, 2000, clients=24)
            wait_until(lambda: running() == 2 or asking.done(), "a second replica")
            assert running() == 2
            assert set(asking.result()) == {"200"}
