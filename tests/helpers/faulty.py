"""`leo serve` with faults that a file chooses: `python -m tests.helpers.faulty serve`.

The fault is the first word of the file that LEO_TEST_FAULT names; most are the device's. The device's thread does all
the work, unless LEO_TEST_QUICK is set: then the event loop does, as it does what is quick. Where LEO_TEST_DELAYS names
a file, every worker writes there by how many seconds its event loop was late, of a task that wants to run every 10 ms.
"""

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.cli import main
from app.inference.engine import Engine
from app.inference.readiness import Readiness
from app.inference.work import Result, Work
from app.tasks.service import Tasks

FAULT = Path(os.environ.pop("LEO_TEST_FAULT"))
DELAYS = os.environ.pop("LEO_TEST_DELAYS", "")
EVERY = 0.01  # seconds
sound_run, sound_predict, sound_watch = Engine.run, Tasks.predict, Readiness.watch


def fault() -> str:
    return FAULT.read_text() if FAULT.exists() else ""


def run(self: Engine, batch: list[Work]) -> list[Result]:
    now = fault()
    if now == "hang":
        threading.Event().wait()
    if now == "raise":
        raise RuntimeError("the device failed, as the test wanted")
    if now == "slow":
        threading.Event().wait(0.5)
    if now == "hold":  # until the file is gone
        FAULT.with_name("held").touch()
        while FAULT.exists():
            threading.Event().wait(0.01)
    return sound_run(self, batch)


async def predict(self: Tasks, *given: Any, **options: Any) -> Any:
    if fault() == "handler":
        raise RuntimeError("the handler failed, as the test wanted")
    return await sound_predict(self, *given, **options)


async def watch(self: Readiness, beat: Callable[[], object] = lambda: None) -> None:
    """What a worker runs as long as it serves; beside it, a heartbeat."""
    heart = asyncio.create_task(heartbeat(Path(DELAYS)))
    try:
        await sound_watch(self, beat)
    finally:
        heart.cancel()


async def heartbeat(delays: Path) -> None:
    worst, written = 0.0, time.monotonic()
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        worst = max(worst, time.monotonic() - due)
        if time.monotonic() - written > 0.2:
            with delays.open("a") as file:
                file.write(f"{worst:.4f}\n")
            worst, written = 0.0, time.monotonic()


if __name__ == "__main__":
    Engine.run, Tasks.predict = run, predict  # type: ignore[method-assign]
    seconds = 0.0 if os.environ.pop("LEO_TEST_QUICK", "") else math.inf
    Engine.seconds = lambda self, work: seconds  # type: ignore[method-assign]
    if DELAYS:
        Readiness.watch = watch  # type: ignore[method-assign]
    main()
