"""The Prometheus metrics of the service; docs/metrics.md explains them.

Each metric is counted where its event happens. Metrics belong to the process: several apps in one process count
together. So do the workers of one service if PROMETHEUS_MULTIPROC_DIR names a folder when prometheus_client is
imported: each worker writes its counts to files there, and each reads all of them.
"""

import contextlib
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.observability.metric_files import ReservedCounts, unmoved
from app.observability.processes import Processes, of_this_service

REGISTRY = CollectorRegistry()
PROCESSES = Processes(of_this_service)
tracer = trace.get_tracer("leo")

_process_id = os.getpid()


def _after_fork() -> None:
    global _process_id
    _process_id = os.getpid()


if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    # The library asks the system for the process id at each count, a dozen times a request. Only a fork changes it.
    # measured: a prediction takes 3 % less
    os.register_at_fork(after_in_child=_after_fork)
    values.MmapedDict = ReservedCounts  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue(lambda: _process_id)  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHARES = tuple(n / 10 for n in range(1, 11))
LOSSES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

requests = Counter("leo_http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
request_seconds = Histogram(
    "leo_http_request_duration_seconds",
    "Time from a request's head to the end of its answer",
    ["route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
stage_seconds = Histogram(
    "leo_stage_duration_seconds",
    "Time of a request's stages: fetch (images named by URL), decode (images), device (wait and work), store",
    ["stage"],
    buckets=SECONDS,
    registry=REGISTRY,
)
_stages = {
    name: stage_seconds.labels(name) for name in ("fetch", "decode", "device", "store")
}  # looked up once, as a lookup takes time
batch_requests = Histogram("leo_batch_requests", "Requests in a batch", buckets=COUNTS, registry=REGISTRY)
batch_images = Histogram("leo_batch_images", "Images in a batch", buckets=COUNTS, registry=REGISTRY)
batch_seconds = Histogram(
    "leo_batch_duration_seconds", "Time of the device's work on a batch", buckets=SECONDS, registry=REGISTRY
)
queue_images = Gauge(
    "leo_queue_images", "Images waiting for the device", registry=REGISTRY, multiprocess_mode="livesum"
)
cache_lookups = Counter(
    "leo_cache_lookups", "Predictions by cache result: hit, codes or miss", ["result"], registry=REGISTRY
)
lookups_by_result = {result: cache_lookups.labels(result) for result in ("hit", "codes", "miss")}
cache_bytes = Gauge(
    "leo_cache_bytes",
    "Size of the cache of tasks and decoded heads in bytes",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
cache_tasks = Gauge("leo_cache_tasks", "Tasks in the cache", registry=REGISTRY, multiprocess_mode="livesum")
tasks_created = Counter("leo_tasks_created", "Tasks created, including imports", ["model"], registry=REGISTRY)
tasks_deleted = Counter("leo_tasks_deleted", "Tasks deleted by a request", registry=REGISTRY)
tasks_alive = Gauge(
    "leo_tasks_alive",
    "Live tasks in the store, shared by all replicas",
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
    "leo_adaptation_gain", "Share of the support loss that the inner loop removed", buckets=SHARES, registry=REGISTRY
)
confidence = Histogram("leo_confidence", "Probability of the likeliest class", buckets=SHARES, registry=REGISTRY)
unknown = Counter("leo_unknown", "Images that are of none of their task's classes", registry=REGISTRY)
model_info = Gauge(
    "leo_model_info",
    "1 for each loaded model, 0 for one that was replaced",
    ["model", "version"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)

_gauges: dict[Gauge, Callable[[], float]] = {}


def register_gauge(gauge: Gauge, now: Callable[[], float]) -> None:
    """Have `update_gauges` set a gauge to the value that `now` returns."""
    _gauges[gauge] = now


def update_gauges() -> None:
    """Set this process's registered gauges to their current values."""
    for gauge, now in _gauges.items():
        gauge.set(now())


def page() -> bytes:
    """The metrics of all workers in Prometheus's text format."""
    update_gauges()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY) + _of_processes()
    registry = CollectorRegistry()
    with contextlib.suppress(OSError):  # somebody may have cleaned it away
        os.makedirs(os.environ["PROMETHEUS_MULTIPROC_DIR"], exist_ok=True)
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with unmoved(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])):
        return generate_latest(registry) + _of_processes()


def _of_processes() -> bytes:
    registry = CollectorRegistry()
    registry.register(PROCESSES)
    return generate_latest(registry)


@cache  # as a lookup by labels takes time
def _request_metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return requests.labels(method, route, str(status)), request_seconds.labels(route)


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request and its time."""
    count, duration = _request_metrics(method, route, status)
    count.inc()
    duration.observe(seconds)


def count_refusal(method: str, status: int) -> None:
    """Count a request that was refused where it came in. Its time is none of the service's answers, and is left out."""
    _request_metrics(method, "none", status)[0].inc()


class Stage:
    """A context manager that times a stage of a request, and records it as a span if the request is traced."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        traced = trace.get_current_span().is_recording()
        self._span = tracer.start_as_current_span(self._name) if traced else None
        if self._span:
            self._span.__enter__()
        self._began = time.perf_counter()

    def __exit__(self, *error: Any) -> None:
        _stages[self._name].observe(time.perf_counter() - self._began)
        if self._span:
            self._span.__exit__(*error)


def observe_adaptation(losses: list[float]) -> None:
    """Record the losses of one inner loop."""
    before, after = losses[0], losses[-1]
    adaptation_loss.labels("before").observe(before)
    adaptation_loss.labels("after").observe(after)
    if before > 0:
        adaptation_gain.observe(max(0.0, 1 - after / before))
