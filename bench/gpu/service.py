"""The service on the device and on the CPU of the same machine: 64 clients, one client, and how busy the GPU is."""

import importlib.util
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common import ROOT

NEEDED = ("fastapi", "uvicorn", "structlog", "cachetools", "redis", "multipart", "httptools", "uvloop", "httpx")
CLIENTS = 64


def measure(device: str, small: bool, seconds: float) -> dict[str, Any]:
    """The figures of both devices, within so many seconds in all."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return {"skipped": f"{', '.join(missing)} missing: carry them as wheels"}
    on_device = "process:cpu" if device == "cpu" else device
    found: dict[str, Any] = {}
    for name in (on_device, "cpu"):
        try:
            found[name] = _serve(name, small, min(seconds / 12, 4.0))
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:3000]}
    return found


def _serve(device: str, small: bool, each: float) -> dict[str, Any]:
    from bench.load import closed_loop_apart
    from bench.requests import creation
    from bench.tasks import make_tasks, predict
    from tests.helpers.server import Server

    os.chdir(ROOT)
    workers = max(1, min(12, len(os.sched_getaffinity(0)) - 4))
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", LEO_DEVICE=device, LEO_WORKERS=str(workers), LEO_QUEUE_REQUESTS="512")
        began = time.monotonic()
        try:
            server.start()
            figures: dict[str, Any] = {"workers": workers, "seconds_until_ready": round(time.monotonic() - began, 1)}
            _wait_for_all(server, workers)
            tasks = make_tasks(server.url, 8 if small else 200)
            clients = 8 if small else CLIENTS
            for what, number in ((f"predict_{clients}_clients", clients), ("predict_1_client", 1)):
                with Busy() as busy:
                    figures[what] = predict(server.url, tasks, number, each, warm_up=0.7)
                del figures[what]["took"]
                figures[what]["gpu_busy_percent"] = busy.mean
            creations = [creation(n) for n in range(40)]
            for what, number in ((f"create_{clients}_clients", clients), ("create_1_client", 1)):
                with Busy() as busy:
                    load, _ = closed_loop_apart(server.url, creations, number, each, 0.7)
                figures[what] = load.summary() | {"gpu_busy_percent": busy.mean}
        except BaseException as error:
            log = server.log.read_text()[-1500:] if server.log.exists() else ""
            raise RuntimeError(f"{error}; the server's log ends with: {log}") from error
        finally:
            server.close()
    return figures


def _wait_for_all(server: Any, workers: int) -> None:
    from tests.helpers.waiting import wait_until

    wait_until(lambda: server.log.read_text().count("Application startup complete") >= workers, 60)


class Busy:
    """Samples how busy the GPU is while a block runs; no figure where there is no nvidia-smi."""

    def __enter__(self) -> "Busy":
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            self._process = None
        self.mean: float | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            output, _ = self._process.communicate(timeout=10)
            samples = [float(line) for line in output.split() if line.replace(".", "").isdigit()]
            self.mean = round(statistics.mean(samples), 1) if samples else None
