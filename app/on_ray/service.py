"""The Ray Serve deployment: the same app, with replicas on any node of a Ray cluster.

Every replica is the whole service, with its own engine and cache; tasks are in the shared store. HAProxy sends all
requests about one task to one replica, whose cache holds the task: it hashes the task id in the path, as
deploy/ray/environment configures it.

    . deploy/ray/environment
    serve run deploy/ray/serve.yaml
"""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig

from app.main import create_app
from app.observability import logs, metrics
from app.settings import Settings
from app.store.errors import StoreUnavailable
from model.allocator import keep_freed_memory


def build() -> FastAPI:
    """Build the app of one replica. Raises `StoreUnavailable` if no shared store is configured."""
    keep_freed_memory()
    settings = Settings(host="0.0.0.0")  # noqa: S104 - Ray listens, in whichever way it is reached
    logs.configure(settings.log_format)
    if not settings.store_url:
        raise StoreUnavailable("replicas share their tasks: set LEO_STORE_URL to a Redis")
    return create_app(settings)


# Defaults; deploy/ray/serve.yaml overrides them.
@serve.deployment(
    name="leo",
    ray_actor_options={"num_cpus": 1},
    autoscaling_config=AutoscalingConfig(min_replicas=1, max_replicas=8, target_ongoing_requests=8),
    max_ongoing_requests=32,  # that one replica works on; more wait in its queue
    max_queued_requests=128,  # that wait in one replica's queue; more get 503 at once
    health_check_period_s=5,
    graceful_shutdown_timeout_s=40,
)
@serve.ingress(build)
class Leo:
    """One replica of the service."""

    def check_health(self) -> None:
        """Raise `RuntimeError` if the readiness test fails, so that Ray replaces this replica."""
        replica: Any = self  # Ray adds the attribute `app`
        reason = replica.app.state.readiness.reason_not_ready()
        if reason:
            raise RuntimeError(reason)

    def metrics(self) -> bytes:
        """This replica's Prometheus metrics. `GET /metrics` reaches any one replica; Ray's `broadcast` reaches all."""
        return metrics.page()


leo = Leo.bind()  # type: ignore[attr-defined]
