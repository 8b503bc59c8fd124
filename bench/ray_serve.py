"""The service on Ray Serve: a node killed, tasks kept warm, throughput; into bench/results/ray.json.

As deploy/ray/environment sets it, with HAProxy; what is kept warm, and throughput, with Ray's own proxies too.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import tasks
from bench.latency import RESULTS
from model.evaluation.card import machine, today
from tests.e2e.conftest import Server
from tests.helpers.cluster import gateway
from tests.helpers.redis_server import RedisServer, started
from tests.ray import scenarios
from tests.ray.cluster import running_on_ray

CLIENTS, SECONDS, WARM_UP, TASKS = 8, 8.0, 2.0, 50


@contextmanager
def redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = started(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def node_killed(given: argparse.Namespace) -> dict[str, Any]:
    """Two raylets with a replica each, one of them killed under load."""
    with redis() as store, running_on_ray(store.url, nodes=2) as cluster:
        cluster.deploy(2, max_replicas_per_node=1)
        return scenarios.node_killed(cluster, between=given.between)


def affinity(given: argparse.Namespace, *, haproxy: bool = True) -> dict[str, Any]:
    """Four replicas, then five."""
    with redis() as store, running_on_ray(store.url, nodes=1, cpus=8, haproxy=haproxy) as cluster:
        cluster.deploy(4)
        return scenarios.affinity(cluster, tasks=given.tasks, times=given.times)


def throughput(given: argparse.Namespace) -> dict[str, Any]:
    """The same load on one plain server, two behind nginx, and Ray with one and two replicas, round after round."""
    rounds: dict[str, list[dict[str, Any]]] = {}

    def measure(name: str, url: str) -> None:
        found = tasks.predict(url, tasks.make_tasks(url, TASKS), CLIENTS, SECONDS, warm_up=WARM_UP)
        rounds.setdefault(name, []).append(
            {key: value for key, value in found.items() if key not in ("clients", "took")}
        )

    with redis() as store, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = [Server(folder / str(n), LEO_STORE_URL=store.url) for n in range(2)]
        for _ in range(given.rounds):
            try:
                servers[0].start()
                measure("uvicorn, 1", servers[0].url)
                servers[1].start()
                with gateway(folder, servers) as url:
                    measure("nginx and uvicorn, 2", url)
            finally:
                for server in servers:
                    server.close()
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
        "affinity_of_places": partial(affinity, haproxy=False),
        "throughput": throughput,
    }
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", choices=list(scenario), help="the others' last results stay")
    parser.add_argument("--between", type=int, default=300, help="requests before, between and after kill and return")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--times", type=int, default=20, help="predictions a task")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    target = RESULTS / "ray.json"
    written = json.loads(target.read_text()) if target.exists() else {}
    written["what"] = "Ray Serve, Redis and the clients, all on one machine"
    for name, run in scenario.items():
        if given.only in (None, name):
            found = run(given)
            written[name] = {"date": today(), "machine": machine(), **found}
            print(name, json.dumps(found, indent=2), flush=True)
            target.write_text(json.dumps(written, indent=2) + "\n")
    killed = written.get("node_killed", {})
    bad = [killed.get("failed_after_retries", 0), killed.get("lost", 0)]
    bad += [written.get(name, {}).get("hit_rate", 1) < 0.95 for name in ("affinity", "affinity_of_places")]
    sys.exit(1 if any(bad) else 0)


if __name__ == "__main__":
    main()
