"""`leo serve` with faults that a file chooses: `python -m tests.helpers.faulty serve`.

The fault is the first word of the file that LEO_TEST_FAULT names; most are the device's. The device's thread does all
the work, unless LEO_TEST_QUICK is set: then the event loop does, as it does what is quick. Where LEO_TEST_DELAYS names
a file, the event loops are timed as in tests.helpers.heartbeat.
"""

import math
import os
import threading
from pathlib import Path
from typing import Any

from app.cli import main
from app.inference.engine import Engine
from app.inference.work import Result, Work
from app.tasks.service import Tasks
from tests.helpers import heartbeat

FAULT = Path(os.environ.pop("LEO_TEST_FAULT"))
DELAYS = os.environ.pop("LEO_TEST_DELAYS", "")
sound_run, sound_predict = Engine.run, Tasks.predict


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


if __name__ == "__main__":
    Engine.run, Tasks.predict = run, predict  # type: ignore[method-assign]
    seconds = 0.0 if os.environ.pop("LEO_TEST_QUICK", "") else math.inf
    Engine.seconds = lambda self, work: seconds  # type: ignore[method-assign]
    if DELAYS:
        heartbeat.install(Path(DELAYS))
    main()
