"""Who should supervise two workers: the service's own `app.process.workers`, gunicorn, or uvicorn.

All three run the same app with the same protocol; gunicorn forks what is imported (`preload`) and tells the workers'
shared state of starts and deaths by its hooks, uvicorn starts each worker from nothing. In turn, several times:
predictions by 16 clients, and memory. Then 20 workers are killed under that load. At last the weights are taken away
and a worker is killed, which then cannot start again: does the other one serve on? Writes
bench/results/supervisors.json. Ten minutes.

    pip install gunicorn uvicorn-worker
    python -m bench.supervisors
"""

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app.main as service
from app.cli.load import closed_loop
from app.process.connections import Connections, allow_open_files
from app.process.serve import SWITCH_INTERVAL, freeze_garbage, serve
from app.settings import Settings
from app.shared_state import SharedState
from bench.common import ROOT, WEIGHTS, write_section
from bench.requests import prediction
from bench.service import family
from model.allocator import keep_freed_memory
from tests.helpers.ports import free_port
from tests.helpers.tasks import FIVE, create

SUPERVISORS = ("own", "gunicorn", "uvicorn")
WORKERS, CLIENTS, SECONDS, WARM_UP = 2, 16, 6.0, 2.0
PAUSE, PATIENCE = 1.0, 180.0  # seconds between two kills at least, and until a worker must be back
BREAK_SECONDS, ASKED = 20.0, 40  # seconds that a worker has to fail in, then requests

STATE = SharedState(WORKERS)


class Named:
    """The app with the worker's process id in each answer. It is made when the worker's server starts."""

    def __init__(self, made: ASGIApp | None = None) -> None:
        self._made = made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            keep_freed_memory()
            sys.setswitchinterval(SWITCH_INTERVAL)
            self._made = make_app(Settings(), STATE)
            freeze_garbage()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", b"%d" % os.getpid())]
            await send(message)

        await self._made(scope, receive, send_named)


make_app = service.create_app
app = Named()


def protocol() -> dict[str, Any]:
    """uvicorn's settings, as `leo serve` has them."""
    return {
        "http": Connections(allow_open_files()),
        "ws": "none",
        "access_log": False,
        "lifespan": "on",
        "timeout_keep_alive": 75,
    }


def serve_with(supervisor: str) -> None:
    """Be the server, on the port and with the data folder of the environment."""
    settings = Settings()
    if supervisor == "own":
        service.create_app = lambda *given: Named(make_app(*given))  # type: ignore[assignment]
        sys.exit(serve(settings.model_copy(update={"workers": WORKERS})))
    if supervisor == "uvicorn":
        uvicorn.run("bench.supervisors:app", port=settings.port, workers=WORKERS, log_level="warning", **protocol())
        return
    from gunicorn.app.base import BaseApplication
    from uvicorn_worker import UvicornWorker

    class Worker(UvicornWorker):
        CONFIG_KWARGS = protocol()

    def pre_fork(server: Any, worker: Any) -> None:
        taken = {getattr(each, "number", None) for each in server.WORKERS.values()}
        worker.number = next(number for number in range(WORKERS) if number not in taken)

    def child_exit(_: Any, worker: Any) -> None:
        STATE.set_ready(worker.number, ready=False)
        STATE.bump_all_versions()

    class Gunicorn(BaseApplication):
        def load_config(self) -> None:
            for name, value in {
                "bind": f"127.0.0.1:{settings.port}",
                "workers": WORKERS,
                "worker_class": Worker,
                "preload_app": True,
                "reuse_port": True,
                "pre_fork": pre_fork,
                "post_fork": lambda _, worker: STATE.join(worker.number),
                "child_exit": child_exit,
                "loglevel": "warning",
            }.items():
                self.cfg.set(name, value)

        def load(self) -> ASGIApp:
            return app

    Gunicorn().run()


class Server:
    """A server in a process of its own."""

    def __init__(self, supervisor: str, weights: Path) -> None:
        self._data = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LEO_")} | {
            "LEO_PORT": str(self.port),
            "LEO_DATA_DIR": self._data.name,
            "LEO_DEVICE": "cpu",
            "LEO_WEIGHTS": str(weights),
        }
        command = [sys.executable, "-m", "bench.supervisors", "serve", supervisor]
        self._log = Path(self._data.name, "log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def __enter__(self) -> "Server":
        self.start_seconds = self.wait_for(WORKERS, set())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        for each in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.process.wait()
        self._data.cleanup()

    def answering(self) -> int | None:
        """The process that answers a new connection, or None."""
        try:
            answer = httpx.get(f"{self.url}/healthz", timeout=2)
        except httpx.TransportError:
            return None
        return int(answer.headers["x-worker"]) if answer.status_code == 200 else None

    def wait_for(self, workers: int, besides: set[int]) -> float:
        """Seconds until so many workers have answered that are none of these."""
        began, seen = time.perf_counter(), set[int]()
        while time.perf_counter() < began + PATIENCE:
            found = self.answering()
            if found is not None and found not in besides:
                seen.add(found)
            if len(seen) == workers:
                return time.perf_counter() - began
            time.sleep(0.005)
        said = self._log.read_text()[-1000:]
        raise RuntimeError(f"of {workers} workers {len(seen)} answer: {said}")

    def workers(self) -> set[int]:
        """The processes that answer, once all do."""
        seen = set[int]()
        while len(seen) < WORKERS:
            found = self.answering()
            seen |= {found} if found else set()
        return seen

    def megabytes(self) -> float:
        """Memory of all its processes; what they share counts once."""
        total = 0
        for each in family(self.process.pid):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return round(total / 1024, 1)

    def predictions(self) -> Iterator[bytes]:
        """Predictions by a new task, without end."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            task_id = str(create(client, FIVE).json()["task_id"])
        return itertools.cycle([prediction(task_id, hand) for hand in range(8)])


def measure(supervisor: str) -> dict[str, float]:
    """One turn of a supervisor: its start, throughput, median and memory."""
    with Server(supervisor, WEIGHTS / "omniglot") as server:
        requests = server.predictions()
        closed_loop(server.url, requests, CLIENTS, WARM_UP)
        load = closed_loop(server.url, requests, CLIENTS, SECONDS)
        return {
            "start_seconds": round(server.start_seconds, 2),
            "per_second": round(load.per_second, 1),
            "p50_ms": load.summary()["p50_ms"],
            "p99_ms": load.summary()["p99_ms"],
            "megabytes": server.megabytes(),
        }


def kill_workers(supervisor: str, kills: int) -> dict[str, Any]:
    """What is lost when workers are killed under load, one after the other, and how soon each is back."""
    with Server(supervisor, WEIGHTS / "omniglot") as server:
        requests, stopped, counts = server.predictions(), threading.Event(), dict[str, int]()

        def until_stopped() -> Iterator[bytes]:
            for request in requests:
                if stopped.is_set():
                    return
                yield request

        def keep_asking() -> None:
            counts.update(closed_loop(server.url, until_stopped(), CLIENTS, PATIENCE * kills).statuses)

        thread = threading.Thread(target=keep_asking)
        thread.start()
        back = []
        for number in range(kills):
            time.sleep(PAUSE)
            alive = server.workers()
            os.kill(sorted(alive)[number % WORKERS], signal.SIGKILL)
            back.append(server.wait_for(1, alive))
        stopped.set()
        thread.join()
        answered = counts.pop("200", 0)
        return {
            "kills": kills,
            "answered": answered,
            "failed": sum(counts.values()),
            "failed_by_status": counts,
            "back_after_seconds_median": round(statistics.median(back), 2),
            "back_after_seconds_longest": round(max(back), 2),
        }


def broken(supervisor: str) -> dict[str, Any]:
    """What becomes of requests when a worker is killed that cannot start again, as its weights are gone."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(shutil.copytree(WEIGHTS / "omniglot", Path(folder) / "omniglot"))
        with Server(supervisor, weights) as server:
            alive = server.workers()
            weights.rename(weights.with_name("gone"))
            os.kill(min(alive), signal.SIGKILL)
            time.sleep(BREAK_SECONDS)
            answered = [server.answering() for _ in range(ASKED)]
            return {"asked": ASKED, "answered": ASKED - answered.count(None), "runs": server.process.poll() is None}


def load(rounds: int) -> dict[str, Any]:
    """The medians of all supervisors in turn."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in SUPERVISORS}
    for _ in range(rounds):
        for name in SUPERVISORS:
            turns[name].append(measure(name))
            print(name, turns[name][-1], flush=True)
    return {
        name: {key: round(statistics.median(turn[key] for turn in measured), 3) for key in measured[0]}
        for name, measured in turns.items()
    }


def main() -> None:
    """Measure the sections asked for, of all supervisors, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", default="load,kills,broken")
    given = parser.parse_args()
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "load": lambda: load(given.rounds),
        "kills": lambda: {name: kill_workers(name, given.kills) for name in SUPERVISORS},
        "broken": lambda: {name: broken(name) for name in SUPERVISORS},
    }
    for section in given.only.split(","):
        found = sections[section]()
        write_section("supervisors", section, {"workers": WORKERS, "clients": CLIENTS, "supervisors": found})


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve_with(sys.argv[2])
    else:
        main()
