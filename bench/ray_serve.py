"""The service on Ray Serve: a node killed, tasks kept in caches, throughput; writes bench/results/ray.json.

As deploy/ray/environment sets it up, with HAProxy; caches and throughput with Ray's own proxies too.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import tasks
from bench.common import read_results, write_section
from bench.service import Service, redis_server
from tests.helpers.cluster import gateway
from tests.ray import scenarios
from tests.ray.cluster import running_on_ray

CLIENTS, SECONDS, WARM_UP, TASKS = 8, 8.0, 2.0, 50


def node_killed(given: argparse.Namespace) -> dict[str, Any]:
    """Two raylets with a replica each, one of them killed under load."""
    with redis_server() as store, running_on_ray(store.url, nodes=2) as cluster:
        cluster.deploy(2, max_replicas_per_node=1)
        return scenarios.node_killed(cluster, between=given.between)


def affinity(given: argparse.Namespace) -> dict[str, Any]:
    """Four replicas, then five."""
    with redis_server() as store, running_on_ray(store.url, nodes=1, cpus=8) as cluster:
        cluster.deploy(4)
        return scenarios.affinity(cluster, tasks=given.tasks, times=given.times)


def throughput(given: argparse.Namespace) -> dict[str, Any]:
    """The same load on one plain server, two behind nginx, and Ray with one and two replicas, round after round."""
    rounds: dict[str, list[dict[str, Any]]] = {}

    def measure(name: str, url: str) -> None:
        found = tasks.predict(url, tasks.make_tasks(url, TASKS), CLIENTS, SECONDS, warm_up=WARM_UP)
        shown = {key: value for key, value in found.items() if key not in ("clients", "took")}
        rounds.setdefault(name, []).append(shown)

    with redis_server() as store, tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            with Service(LEO_STORE_URL=store.url) as one:
                measure("uvicorn, 1", one.url)
                with Service(LEO_STORE_URL=store.url) as two, gateway(Path(folder), [one, two]) as url:
                    measure("nginx and uvicorn, 2", url)
            for proxies, haproxy in (("HAProxy", True), ("its own proxy", False)):
                with running_on_ray(store.url, nodes=1, cpus=4, haproxy=haproxy) as cluster:
                    for replicas in (1, 2):
                        cluster.deploy(replicas)
                        measure(f"Ray Serve with {proxies}, {replicas}", cluster.url)
    return {"clients": CLIENTS, "seconds": SECONDS, "rounds": rounds}


def main() -> None:
    """Run all, or one, and fail if a prediction failed or a task was lost."""
    scenario: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "node_killed": node_killed,
        "affinity": affinity,
        "throughput": throughput,
    }
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", choices=list(scenario), help="the others' last results stay")
    parser.add_argument("--between", type=int, default=300, help="requests before, between and after kill and return")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--times", type=int, default=20, help="predictions a task")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    for name, run in scenario.items():
        if given.only in (None, name):
            write_section("ray", name, run(given))
    written = read_results("ray")
    killed = written.get("node_killed", {})
    bad = [killed.get("failed_after_retries", 0), killed.get("lost", 0)]
    bad.append(written.get("affinity", {}).get("hit_rate", 1) < 0.95)
    sys.exit(1 if any(bad) else 0)


if __name__ == "__main__":
    main()
