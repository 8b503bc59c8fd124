"""The service on Ray Serve: the same app, its replicas wherever a Ray cluster has room.

Every replica is all of it, with an engine and a cache of its own and the tasks in the shared store. Requests about
one task go to one replica, which has it warm: HAProxy's consistent hashing by the task id in the path, as
deploy/ray/environment sets it; or, where Ray's own proxies are used, `app.on_ray.router`.

    . deploy/ray/environment
    serve run deploy/ray/serve.yaml
"""

import os
import time
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from app.main import create_app
from app.observability import logs, metrics
from app.settings import Settings
from app.store import StoreUnavailable
from model.allocator import keep_freed_memory


def build() -> FastAPI:
    """What each replica serves. Raises `StoreUnavailable` where it would be alone with its tasks."""
    keep_freed_memory()
    settings = Settings()
    logs.configure(settings.log_format)
    if not settings.store_url:
        raise StoreUnavailable("replicas share their tasks: set LEO_STORE_URL to a Redis")
    return create_app(settings)


def router() -> RequestRouterConfig:
    """Ray refuses a router of one's own where HAProxy does the routing."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        return RequestRouterConfig()
    return RequestRouterConfig(request_router_class="app.on_ray.router:TaskRouter")


# What a config file may change, as deploy/ray/serve.yaml does.
@serve.deployment(
    name="leo",
    ray_actor_options={"num_cpus": 1},
    autoscaling_config=AutoscalingConfig(min_replicas=1, max_replicas=8, target_ongoing_requests=8),
    # Beyond these a request waits at its replica, or goes to the next one from Ray's own proxies; and beyond those,
    # which is for each replica or for each of the proxies, it is refused at once, with 503.
    max_ongoing_requests=32,
    max_queued_requests=128,
    request_router_config=router(),
    health_check_period_s=5,
    graceful_shutdown_timeout_s=40,
)
@serve.ingress(build)
class Leo:
    """A replica."""

    def check_health(self) -> None:
        """Ray replaces a replica for which this raises: ready means proved, see `app.inference.readiness`."""
        replica: Any = self  # with Ray's own class, which has the app
        reason = replica.app.state.readiness.reason_not_ready()
        if reason:
            raise RuntimeError(reason)

    def record_replica_metadata(self) -> dict[str, Any]:
        """For `app.on_ray.router`: this replica's place is the lowest that was free when it was born."""
        return {"born": time.time(), "place": serve.get_replica_context().rank.rank}

    def metrics(self) -> bytes:
        """This replica's page of metrics: `GET /metrics` asks any one, Ray's `broadcast` asks all."""
        return metrics.page()


leo = Leo.bind()  # type: ignore[attr-defined]
