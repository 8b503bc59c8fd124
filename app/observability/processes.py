"""Prometheus' standard metrics of a process, `process_*`, summed over the processes of one service."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

#: Metrics of which the sum says nothing.
FIRST = ("process_start_time_seconds",)
LEAST = ("process_max_fds",)


class Processes(Collector):
    """Collects what Prometheus' client library does of one process, for several."""

    def __init__(self, ids: Callable[[], list[int]]) -> None:
        """`ids` returns the ids of the processes."""
        self._ids = ids

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes; one that has just ended is left out."""
        values: dict[str, list[float]] = {}
        described: dict[str, Metric] = {}
        for process_id in self._ids():
            one = ProcessCollector(pid=partial(int, process_id), registry=CollectorRegistry())
            for metric in one.collect():
                described[metric.name] = metric
                for sample in metric.samples:
                    values.setdefault(metric.name, []).append(sample.value)
        for name, metric in described.items():
            fold = min if name in FIRST + LEAST else sum
            metric.samples = [metric.samples[0]._replace(value=fold(values[name]))]
            yield metric


def of_this_service() -> list[int]:
    """This process; with several workers the process that started them, and all that it started."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return [os.getpid()]
    parent = os.getppid()
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:  # a kernel without it
        return [parent, os.getpid()]
    return [parent, *map(int, children)]
