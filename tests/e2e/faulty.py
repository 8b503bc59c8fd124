"""`leo serve` with a device that fails as a file says: `python -m tests.e2e.faulty serve`.

Only the engine's `run` is wrapped; the fault is in the first word of the file that LEO_TEST_FAULT names. The device's
thread does all the work, unless LEO_TEST_QUICK is set: then the event loop does, as it does what is quick.
"""

import math
import os
import threading
from pathlib import Path

from app.cli import main
from app.engine import Engine, Result, Work

FAULT = Path(os.environ.pop("LEO_TEST_FAULT"))
sound = Engine.run


def run(self: Engine, batch: list[Work]) -> list[Result]:
    fault = FAULT.read_text() if FAULT.exists() else ""
    if fault == "hang":
        threading.Event().wait()
    if fault == "slow":
        threading.Event().wait(0.5)
    if fault == "hold":  # until the file is gone
        FAULT.with_name("held").touch()
        while FAULT.exists():
            threading.Event().wait(0.01)
    return sound(self, batch)


if __name__ == "__main__":
    Engine.run = run  # type: ignore[method-assign]
    seconds = 0.0 if os.environ.pop("LEO_TEST_QUICK", "") else math.inf
    Engine.seconds = lambda self, work: seconds  # type: ignore[method-assign]
    main()
