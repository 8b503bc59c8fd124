"""A Ray cluster on this machine, each node its own raylet, with the service on it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from app.settings import PROJECT
from tests.helpers.ports import free_port

PATIENCE = 400.0  # seconds


class RayCluster:
    """A head node, which runs the proxy, and further nodes. A replica takes one CPU of a node."""

    def __init__(self, cluster: Cluster, url: str, settings: dict[str, str]) -> None:
        self._cluster, self.url, self._settings = cluster, url, settings
        self.nodes: list[Any] = []

    def add_node(self, cpus: int = 1) -> None:
        self.nodes.append(self._cluster.add_node(num_cpus=cpus))
        self._cluster.wait_for_nodes()

    def kill_node(self) -> None:
        """Kill a raylet and its processes with SIGKILL."""
        self._cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def deploy(self, replicas: int, most: int | None = None, **options: Any) -> None:
        """Deploy deploy/ray/serve.yaml with a number of replicas, and return once they all run.

        Replicas that run already are kept. Under load Ray may start more, up to `most`.
        """
        config = yaml.safe_load((PROJECT / "deploy" / "ray" / "serve.yaml").read_text())
        (app,) = config["applications"]
        app["runtime_env"] = {"env_vars": self._settings}
        (deployment,) = app["deployments"]
        deployment["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": most or replicas}
        deployment |= options
        # The call behind `serve deploy`, which keeps unchanged replicas; `serve.run` would restart all of them.
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        self.wait_for(replicas)

    def wait_for(self, replicas: int) -> None:
        """Wait until this many replicas run. Raises `RuntimeError` after `PATIENCE` seconds."""
        wait_until(lambda: running() == replicas, f"{replicas} replicas")

    def counts(self) -> list[dict[str, float]]:
        """The metrics of each replica, by names like `leo_cache_lookups_total/hit`."""
        pages = serve.get_deployment_handle("leo", "leo").broadcast("metrics").results()
        return [
            {
                "/".join([sample.name, *sample.labels.values()]): sample.value
                for family in text_string_to_metric_families(page.decode())
                for sample in family.samples
            }
            for page in pages
        ]


def running() -> int:
    """The number of replicas that run now."""
    app = serve.status().applications.get("leo")
    return int(app.deployments["leo"].replica_states.get("RUNNING", 0)) if app and app.deployments else 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.1)


def environment(*, haproxy: bool) -> dict[str, str]:
    """The variables that deploy/ray/environment sets; without `haproxy`, Ray's own proxies instead."""
    printed = subprocess.run(
        ["sh", "-c", ". deploy/ray/environment && env -0"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = dict(line.split("=", 1) for line in printed.split("\0") if line.startswith("RAY_"))
    off = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
    return found if haproxy else found | off


@contextlib.contextmanager
def running_on_ray(
    store_url: str, nodes: int, cpus: int = 1, *, haproxy: bool = True, **settings: str
) -> Iterator[RayCluster]:
    """A cluster with this many nodes, counting the head; deploy the service with `RayCluster.deploy`."""
    os.environ |= environment(haproxy=haproxy) | {
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        # No balancer outside this machine has to notice that a replica stops.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # On a busy machine a proxy takes longer to start than Ray waits by default.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        "PYTHONPATH": str(PROJECT),
    }
    head = {"num_cpus": cpus, "include_dashboard": False}
    cluster, port = Cluster(initialize_head=True, head_node_args=head), free_port()
    all_settings = {"LEO_STORE_URL": store_url, "LEO_DEVICE": "cpu", **settings}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
        # All nodes are on this machine, so only one of them can have the port.
        serve.start(ProxyLocation.HeadOnly, HTTPOptions(host="127.0.0.1", port=port, request_timeout_s=35))
        running = RayCluster(cluster, f"http://127.0.0.1:{port}", all_settings)
        for _ in range(nodes - 1):
            running.add_node(cpus)
        yield running
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()
