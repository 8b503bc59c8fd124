"""`leo serve` whose event loops are timed: `python -m tests.helpers.heartbeat serve`.

Every worker runs a task that wants to run every 10 ms, and appends to the file that LEO_TEST_DELAYS names by how many
seconds it was late, a line each time.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from app.cli import main
from app.inference.readiness import Readiness

EVERY, WRITTEN_EVERY = 0.01, 0.2  # seconds
watch_as_served = Readiness.watch


def install(delays: Path) -> None:
    """Let every worker's event loop of this process write its delays to a file."""

    async def watch(self: Readiness, beat: Callable[[], object] = lambda: None) -> None:
        """Watch readiness, as a worker does as long as it serves; beside it, the heartbeat."""
        heart = asyncio.create_task(_heartbeat(delays))
        try:
            await watch_as_served(self, beat)
        finally:
            heart.cancel()

    Readiness.watch = watch  # type: ignore[method-assign]


async def _heartbeat(file: Path) -> None:
    delays, written = list[float](), time.monotonic()
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        delays.append(time.monotonic() - due)
        if time.monotonic() - written > WRITTEN_EVERY:
            with file.open("a") as lines:
                lines.write("".join(f"{delay:.5f}\n" for delay in delays))
            delays, written = [], time.monotonic()


def read(file: Path) -> list[float]:
    """Return all delays of all workers until now, in seconds."""
    return [float(line) for line in file.read_text().split()]


if __name__ == "__main__":
    install(Path(os.environ.pop("LEO_TEST_DELAYS")))
    main()
