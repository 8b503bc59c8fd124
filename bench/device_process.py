"""What a device process costs and survives, with the CPU as its device: the hand-over's time, and 20 kills under load.

Writes bench/results/device_process.json. Two minutes on an idle machine.

    python -m bench.device_process
"""

import argparse
import asyncio
import multiprocessing
import os
import re
import signal
import statistics
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.remote.board import Board
from app.inference.remote.device_queue import DeviceQueue
from app.inference.remote.server import DeviceServer
from app.inference.work import Predict
from bench.common import WEIGHTS, write_section
from model.serving.phi import sample_drawings
from tests.helpers.device_server import CONFIG, FakeModels
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create

NAME = "device_process"
PAUSE = 0.02  # seconds between looks at /readyz


def serve(board: Board, with_engine: bool) -> None:
    """Be a device process: with the default model, or with one that computes nothing."""
    if not with_engine:
        DeviceServer(board.listeners[0], FakeModels(), lambda: None, board, 0).serve()  # type: ignore[arg-type]
    models = Models([Engine(WEIGHTS / "omniglot", "cpu", stacked=True)])
    DeviceServer(board.listeners[0], models, lambda: None, board, 0).serve()


def hand_over(requests: int) -> dict[str, Any]:
    """Microseconds of one prediction through a device process, one at a time, with nothing to compute and with phi."""
    figures: dict[str, Any] = {}
    for name, with_engine in (("nothing_to_compute", False), ("one_drawing", True)):
        with tempfile.TemporaryDirectory() as folder:
            board = Board(["cpu"], Path(folder))
            process = multiprocessing.get_context("fork").Process(target=serve, args=(board, with_engine), daemon=True)
            process.start()
            try:
                figures[name] = asyncio.run(_ask(board, requests, with_engine))
            finally:
                process.kill()
                process.join()
                board.close()
    return figures


async def _ask(board: Board, requests: int, with_engine: bool) -> dict[str, float]:
    queue = DeviceQueue(board, lambda _: CONFIG, max_images=4096, timeout=30, slots_bytes=64 * 2**20)
    queue.start()
    await queue.wait_until_ready()
    engine = Engine(WEIGHTS / "omniglot", "cpu", stacked=True) if with_engine else None
    work = Predict(sample_drawings(1, 28), None, np.zeros((5, 64), dtype=np.float32))
    there, here = [], []
    for _ in range(requests):
        began = time.perf_counter()
        await queue.submit(work)
        there.append(time.perf_counter() - began)
        if engine:  # in turn, so that other load on the machine meets both
            began = time.perf_counter()
            engine.run([work])
            here.append(time.perf_counter() - began)
    queue.close()
    await asyncio.sleep(0)
    micro = {"p50_us": _microseconds(there, 50), "p99_us": _microseconds(there, 99)}
    if here:
        micro["in_the_worker_p50_us"] = _microseconds(here, 50)
        micro["cost_p50_us"] = round(micro["p50_us"] - micro["in_the_worker_p50_us"], 1)
    return micro


def _microseconds(seconds: list[float], percent: int) -> float:
    return round(1e6 * statistics.quantiles(seconds, n=100)[percent - 1], 1)


class Load:
    """Clients that predict and create without a pause, and check every answer."""

    def __init__(self, url: str) -> None:
        self._url, self._stopped = url, threading.Event()
        self.statuses: dict[int, int] = {}
        self.wrong, self.made = 0, list[str]()
        with httpx.Client(base_url=url, timeout=60) as client:
            self.task = str(create(client, FIVE).json()["task_id"])
            self._right = self._predict(client, self.task)[1]
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _predict(self, client: httpx.Client, task: str) -> tuple[int, dict[str, float]]:
        answer = client.post(f"/tasks/{task}/predict", files=[("images", ("q", png("ring", 70), "image/png"))])
        scores = answer.json()["predictions"][0]["top_k"] if answer.status_code == 200 else []
        return answer.status_code, {one["label"]: one["confidence"] for one in scores}

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stopped.is_set():
                for _ in range(4):
                    status, scores = self._predict(client, self.task)
                    self.statuses[status] = self.statuses.get(status, 0) + 1
                    if status == 200:
                        self.wrong += any(abs(scores[label] - right) > 1e-4 for label, right in self._right.items())
                created = create(client, FIVE)
                self.statuses[created.status_code] = self.statuses.get(created.status_code, 0) + 1
                if created.status_code == 201:
                    self.made.append(str(created.json()["task_id"]))

    def stop(self) -> int:
        """End the load; how many of the tasks that were made cannot be asked now."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        with httpx.Client(base_url=self._url, timeout=60) as client:
            answers = [self._predict(client, task) for task in [self.task, *self.made]]
        return sum(status != 200 or max(scores, key=scores.__getitem__) != "ring" for status, scores in answers)


def kills(number: int) -> dict[str, Any]:
    """Kill the device process under load: wrong answers, lost tasks, and how long readiness takes to go and come."""
    off, on = [], []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", LEO_DEVICE="process:cpu", LEO_WORKERS="1")
        try:
            server.start()
            load = Load(server.url)
            for _ in range(number):
                process = int(re.findall(r"pid (\d+), computes on", server.log.read_text())[-1])
                os.kill(process, signal.SIGKILL)
                began = time.perf_counter()
                off.append(_until_ready(server.url, ready=False) - began)
                on.append(_until_ready(server.url, ready=True) - began)
            lost = load.stop()
        finally:
            server.close()
    return {
        "kills": number,
        "wrong_answers": load.wrong,
        "lost_tasks": lost,
        "tasks_made": len(load.made),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "seconds_until_not_ready": {"median": round(statistics.median(off), 3), "longest": round(max(off), 3)},
        "seconds_until_ready_again": {"median": round(statistics.median(on), 3), "longest": round(max(on), 3)},
    }


def _until_ready(url: str, *, ready: bool) -> float:
    """When /readyz says so, by `time.perf_counter`."""
    pause = threading.Event()
    while True:
        try:
            found = httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            found = False
        if found == ready:
            return time.perf_counter()
        pause.wait(PAUSE)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    for section, measure in {
        "hand_over": partial(hand_over, given.requests),
        "killed_under_load": partial(kills, given.kills),
    }.items():
        write_section(NAME, section, measure())


if __name__ == "__main__":
    main()
