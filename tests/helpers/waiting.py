"""Wait for a condition instead of for a time."""

import asyncio
import threading
import time
from collections.abc import Callable

PATIENCE = 120.0  # seconds: loaded machines take long


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return once `condition()` is true. Raise AssertionError if it is still false after so many seconds."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"still false after {seconds:g} s"
        pause.wait(0.05)


async def wait_in_loop_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Do the same in an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still false after {seconds:g} s"
        await asyncio.sleep(0.01)
