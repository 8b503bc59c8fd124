"""Ray adds a replica under load. A module of its own, since only one cluster can run and fixtures last a module."""

import threading
from concurrent.futures import ThreadPoolExecutor

from bench.tasks import make_tasks, predict_each
from tests.helpers.redis_server import RedisServer
from tests.ray.cluster import running, running_on_ray, wait_until


def test_a_second_replica_comes_with_load(store: RedisServer) -> None:
    with running_on_ray(store.url, nodes=1, cpus=2) as cluster:
        cluster.deploy(1, most=2)
        tasks, enough = make_tasks(cluster.url, 5), threading.Event()

        def asking() -> set[str]:
            """More at a time than the 8 that serve.yaml wants of a replica."""
            statuses: set[str] = set()
            while not enough.is_set():
                statuses |= predict_each(cluster.url, tasks, 100, clients=24).keys()
            return statuses

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asking)
            try:
                wait_until(lambda: running() == 2, "a second replica")
            finally:
                enough.set()
            assert asked.result() == {"200"}
