"""A server in a process of its own, under load, and what it costs."""

import contextlib
import http.client
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.latency import multipart, post
from bench.load import Outcome, closed, open_loop
from bench.pictures import support
from bench.processes import cpu_seconds, family, resident
from model.devices import CORES

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS, SECONDS, WARM_UP = 32, 6.0, 1.5


class Service:
    """A server in a process of its own (and of its children), and what it costs."""

    def __init__(self, what: str, model: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        python = sys.executable
        self._data = tempfile.TemporaryDirectory()
        command = {
            "ours": [str(Path(python).with_name("leo")), "serve"],
            "litserve": [python, "-m", "bench.peer_litserve", str(self.port), model],
            "litserve_together": [python, "-m", "bench.peer_litserve", str(self.port), model, str(CORES)],
        }.get(what, [python, "-m", "bench.peers", what, str(self.port), model])
        own = {"LEO_PORT": str(self.port), "LEO_DATA_DIR": self._data.name, "LEO_DEVICE": "cpu"}
        own |= {"LEO_WEIGHTS": str(ROOT / "weights" / model)} | settings
        self._process = subprocess.Popen(
            command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/openapi.json")
                if connection.getresponse().read():
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{what} did not start")

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(family(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 15)
        self._process.wait()
        self._data.cleanup()

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def resident_mb(self) -> float:
        return resident(self._process.pid)

    def created(self, hand: int = 0) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        answer, _ = post(connection, "/tasks", multipart(*support(hand)))
        return str(answer["task_id"])

    def samples(self, name: str) -> dict[str, float]:
        """What /metrics says of one metric, by its labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if re.match(rf"{name}[{{ ]", line)
        }

    def load(self, requests: list[bytes], clients: int, seconds: float = SECONDS) -> dict[str, Any]:
        """Closed loop over the requests in turn, after a warm-up."""
        turns = itertools.cycle(requests)
        closed(self.port, turns.__next__, clients, WARM_UP)
        before = self.cpu_seconds()
        outcome = closed(self.port, turns.__next__, clients, seconds)
        return outcome.summary() | self._cost(before, outcome)

    def load_open(self, requests: list[bytes], per_second: float, seconds: float = SECONDS) -> dict[str, Any]:
        turns = itertools.cycle(requests)
        before = self.cpu_seconds()
        outcome = open_loop(self.port, turns.__next__, per_second, seconds)
        return {"asked_per_second": round(per_second, 1)} | outcome.summary() | self._cost(before, outcome)

    def _cost(self, before: float, outcome: Outcome) -> dict[str, Any]:
        spent = 1000 * (self.cpu_seconds() - before) / max(1, len(outcome.accepted))
        return {"cpu_ms_a_request": round(spent, 3), "resident_mb": self.resident_mb()}
