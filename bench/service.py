"""A server under test in a process of its own: what it costs in processor time and memory, and its metrics."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.cli.load import Load, closed_loop
from bench.common import ROOT, WEIGHTS
from bench.load import open_loop, send_each
from bench.requests import creation
from model.devices import CORES
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer, started

CLIENTS, SECONDS, WARM_UP = 32, 6.0, 1.5


class Service:
    """`leo serve` (`ours`), or what it is compared with, on a free port with a data folder of its own.

    A context manager: the server is ready inside and ended afterwards.
    """

    def __init__(self, what: str = "ours", model: str = "omniglot", **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._data = tempfile.TemporaryDirectory()
        self.log = Path(self._data.name) / "log"
        arguments = {
            "ours": ["app.cli", "serve"],
            "litserve": ["bench.peer_litserve", str(self.port), model],
            "litserve_together": ["bench.peer_litserve", str(self.port), model, str(CORES)],
        }.get(what, ["bench.peers", what, str(self.port), model])
        self._command = [sys.executable, "-m", *arguments]
        self._ready = f"{self.url}/readyz" if what == "ours" else f"{self.url}/openapi.json"
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("LEO_")} | {
            "LEO_PORT": str(self.port),
            "LEO_DATA_DIR": self._data.name,
            "LEO_DEVICE": "cpu",
            "LEO_WEIGHTS": str(WEIGHTS / model),
            **settings,
        }

    def __enter__(self) -> "Service":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self._ready, timeout=5).status_code == 200:
                    return self
            time.sleep(0.1)
        said = self.log.read_text()
        self.__exit__()
        raise RuntimeError(f"{self._command} did not start: {said[-500:]}")

    def __exit__(self, *_: object) -> None:
        for process in reversed(family(self.process_id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        self._process.wait()
        self._data.cleanup()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def created(self, hand: int = 0) -> str:
        """The id of a new 5-way 1-shot task."""
        ((_, body),) = send_each(self.url, [creation(hand)], 1, keep=True).answers
        return str(json.loads(body)["task_id"])

    def load(self, requests: list[bytes], clients: int, seconds: float = SECONDS) -> dict[str, Any]:
        """Figures of a closed loop over the requests in turn, after a warm-up."""
        turns = itertools.cycle(requests)
        closed_loop(self.url, turns, clients, WARM_UP)
        before = cpu_seconds(self.process_id)
        return self._figures(closed_loop(self.url, turns, clients, seconds), before)

    def load_open(self, requests: list[bytes], per_second: float, seconds: float = SECONDS) -> dict[str, Any]:
        """Figures of an open loop."""
        before = cpu_seconds(self.process_id)
        load = open_loop(self.url, itertools.cycle(requests), per_second, seconds)
        return {"asked_per_second": round(per_second, 1)} | self._figures(load, before)

    def _figures(self, load: Load, cpu_before: float) -> dict[str, Any]:
        spent = 1000 * (cpu_seconds(self.process_id) - cpu_before) / max(1, len(load.accepted))
        return load.summary() | {"cpu_ms_a_request": round(spent, 3), "resident_mb": resident_mb(self.process_id)}


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A Redis, as durable as in production."""
    with tempfile.TemporaryDirectory() as folder:
        server = started(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def metrics(url: str) -> dict[str, float]:
    """Every sample of /metrics by name and labels, as `leo_stage_duration_seconds_sum/device`."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {"/".join([one.name, *one.labels.values()]): one.value for family in families for one in family.samples}


def mean_ms_between(before: dict[str, float], after: dict[str, float], name: str, labels: str = "") -> float:
    """Mean milliseconds of what a histogram of seconds saw between two calls of `metrics`."""
    total, count = (
        after[f"{name}_{part}{labels}"] - before.get(f"{name}_{part}{labels}", 0) for part in ("sum", "count")
    )
    return 1000 * total / count


def family(process_id: int) -> list[int]:
    """A process and its descendants that still live."""
    found = [process_id]
    for each in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def cpu_seconds(process_id: int) -> float:
    """Processor time of a process and its descendants since their start."""
    ticks = 0
    for each in family(process_id):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# What a process holds itself. Libraries and other files are left out: how much of them counts as its own depends on
# which other programs on the machine have them open.
OWN_MEMORY = ("Pss_Anon:", "Pss_Shmem:")


def resident_mb(process_id: int, kinds: tuple[str, ...] = ("Pss:",)) -> float:
    """Memory of a process and its descendants in MB; pages that several of them share count once."""
    kilobytes = 0
    for each in family(process_id):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return round(kilobytes / 1024, 1)
