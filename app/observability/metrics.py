"""What Prometheus is told. Each metric is counted on the line where its event happens; docs/metrics.md explains them.

They belong to the process, as its clock does: several apps in one process count together. So do the workers of one
service, each in a file that all of them read, where prometheus_client is told of a folder before it is imported.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY = CollectorRegistry()
tracer = trace.get_tracer("leo")

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHARES = tuple(n / 10 for n in range(1, 11))
LOSSES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

requests = Counter("leo_http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
request_seconds = Histogram(
    "leo_http_request_seconds",
    "From its head to its answer's end",
    ["route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
stage_seconds = Histogram(
    "leo_stage_seconds",
    "Parts of a request: decode (images), device (waiting and work), store",
    ["stage"],
    buckets=SECONDS,
    registry=REGISTRY,
)
_stages = {name: stage_seconds.labels(name) for name in ("decode", "device", "store")}  # to look one up takes time
batch_requests = Histogram("leo_batch_requests", "Requests that shared a pass", buckets=COUNTS, registry=REGISTRY)
batch_images = Histogram("leo_batch_images", "Images in a pass", buckets=COUNTS, registry=REGISTRY)
batch_seconds = Histogram("leo_batch_seconds", "The device's work on a pass", buckets=SECONDS, registry=REGISTRY)
queue_images = Gauge(
    "leo_queue_images", "Images that wait for the device now", registry=REGISTRY, multiprocess_mode="livesum"
)
cache_lookups = Counter(
    "leo_cache_lookups", "Predictions by cache result: hit, codes, miss", ["result"], registry=REGISTRY
)
lookups_by_result = {result: cache_lookups.labels(result) for result in ("hit", "codes", "miss")}
cache_bytes = Gauge(
    "leo_cache_bytes", "Bytes of tasks and decoded heads in memory", registry=REGISTRY, multiprocess_mode="livesum"
)
cache_tasks = Gauge("leo_cache_tasks", "Tasks in memory", registry=REGISTRY, multiprocess_mode="livesum")
tasks_created = Counter("leo_tasks_created", "Tasks made, imports included", ["model"], registry=REGISTRY)
tasks_deleted = Counter("leo_tasks_deleted", "Tasks deleted by a caller", registry=REGISTRY)
tasks_alive = Gauge(
    "leo_tasks_alive",
    "Tasks in the store, all replicas' together",
    registry=REGISTRY,
    multiprocess_mode="livemostrecent",
)
workers_ready = Gauge(
    "leo_workers_ready", "Workers that answer requests", registry=REGISTRY, multiprocess_mode="livemostrecent"
)
adaptation_loss = Histogram(
    "leo_adaptation_loss", "Support loss before and after the inner loop", ["when"], buckets=LOSSES, registry=REGISTRY
)
adaptation_gain = Histogram(
    "leo_adaptation_gain", "Share of the support loss that the inner loop took away", buckets=SHARES, registry=REGISTRY
)
confidence = Histogram("leo_confidence", "Probability of the likeliest class", buckets=SHARES, registry=REGISTRY)
unknown = Counter("leo_unknown", "Answers under their request's threshold", registry=REGISTRY)
model_info = Gauge(
    "leo_model_info",
    "1 for each model loaded, 0 for one that was",
    ["model", "version"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)

_gauges: dict[Gauge, Callable[[], float]] = {}


def register_gauge(gauge: Gauge, now: Callable[[], float]) -> None:
    """A gauge that `update_gauges` sets."""
    _gauges[gauge] = now


def update_gauges() -> None:
    """Set the gauges of what this process holds now."""
    for gauge, now in _gauges.items():
        gauge.set(now())


def page() -> bytes:
    """All metrics, of all workers, as Prometheus reads them."""
    update_gauges()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


@cache  # to look them up takes time
def _of_answers(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return requests.labels(method, route, str(status)), request_seconds.labels(route)


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """One request."""
    count, took = _of_answers(method, route, status)
    count.inc()
    took.observe(seconds)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a part of a request, and make a span of it where requests are traced."""
    traced = trace.get_current_span().is_recording()
    with tracer.start_as_current_span(name) if traced else nullcontext():
        began = time.perf_counter()
        try:
            yield
        finally:
            _stages[name].observe(time.perf_counter() - began)


def observe_adaptation(losses: list[float]) -> None:
    """What one inner loop did."""
    before, after = losses[0], losses[-1]
    adaptation_loss.labels("before").observe(before)
    adaptation_loss.labels("after").observe(after)
    if before > 0:
        adaptation_gain.observe(max(0.0, 1 - after / before))
