"""Scenarios on a Ray cluster, each a function that returns its counts; bench/ray_serve.py runs them too."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.tasks import make_tasks, predict_each
from leo_client import Client, LeoError
from tests.helpers.chaos import Load
from tests.helpers.drawn import CHARACTERS, png
from tests.ray.cluster import RayCluster

FIVE = list(CHARACTERS)[:5]


def is_right(client: Client, task_id: str) -> bool:
    return client.predict(task_id, [png("ring", 70)])[0].label == "ring"


def node_killed(cluster: RayCluster, clients: int = 4, between: int = 50) -> dict[str, Any]:
    """Kill one of two nodes while clients create tasks and predict, and later start a new one.

    Each node has one replica. The clients are the project's own, which retry requests that are safe to repeat.
    """
    examples = {name: [png(name)] for name in FIVE}
    load, slowest = Load(), 0.0
    made: list[str] = []
    with Client(cluster.url) as client:
        made += [client.create(examples).task_id for _ in range(8)]

    def working(mine: int) -> None:
        nonlocal slowest
        with Client(cluster.url) as client:
            n = mine
            while not load.stop.is_set():
                began = time.monotonic()
                try:
                    if n % 5 == 0:
                        made.append(client.create(examples).task_id)
                    elif not is_right(client, made[n % len(made)]):
                        load.failed.append("a wrong answer")
                    load.done.append(n)
                except LeoError as error:
                    load.failed.append(repr(error))
                slowest = max(slowest, time.monotonic() - began)
                n += 1

    with ThreadPoolExecutor(clients) as pool:
        threads = [pool.submit(working, n) for n in range(clients)]
        try:
            load.until(between)
            cluster.kill_node()
            load.until(between)
            cluster.add_node()
            cluster.wait_for(2)
            load.until(between)
        finally:
            load.stop.set()
        for thread in threads:
            thread.result()
    with Client(cluster.url) as client:
        lost = sum(not is_right(client, task_id) for task_id in made)
    return {
        "clients": clients,
        "requests": len(load.done) + len(load.failed),
        "failed_after_retries": len(load.failed),
        "failures": load.failed[:5],
        "slowest_seconds": round(slowest, 2),
        "acknowledged_tasks": len(made),
        "lost": lost,
    }


def affinity(cluster: RayCluster, tasks: int, times: int, replicas: int = 4) -> dict[str, Any]:
    """Count cache hits of tasks on several replicas, then add a replica and count the tasks that move to it."""
    before = lookups(cluster)
    made = make_tasks(cluster.url, tasks)
    first = predict_each(cluster.url, made, 1)
    after_first = lookups(cluster)
    later = predict_each(cluster.url, made, times - 1)
    after = lookups(cluster)
    warm = _tasks_held(cluster)
    cluster.deploy(replicas + 1)
    settled = lookups(cluster)
    moved = predict_each(cluster.url, made, 1)
    grown = lookups(cluster)
    hits, misses = after["hit"] - before["hit"], after["miss"] - before["miss"]
    return {
        "replicas": replicas,
        "tasks": tasks,
        "predictions_a_task": times,
        "statuses": dict(Counter(first) + Counter(later) + Counter(moved)),
        "hit_rate": round(hits / (hits + misses), 4),
        "misses_in_each_tasks_first_prediction": int(after_first["miss"] - before["miss"]),
        "misses_later": int(after["miss"] - after_first["miss"]),
        "heads_held_by_each_replica": warm,
        "tasks_moved_by_a_replica_more": int(grown["miss"] - settled["miss"]),
        "share_moved": round((grown["miss"] - settled["miss"]) / tasks, 4),
    }


def lookups(cluster: RayCluster) -> dict[str, float]:
    """Cache hits and misses, summed over all replicas."""
    pages = cluster.counts()
    return {
        result: sum(page.get(f"leo_cache_lookups_total/{result}", 0) for page in pages) for result in ("hit", "miss")
    }


def _tasks_held(cluster: RayCluster) -> list[int]:
    return sorted(int(page["leo_cache_tasks"]) for page in cluster.counts())
