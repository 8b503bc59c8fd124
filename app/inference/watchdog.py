"""Ends a process whose event loop hangs: what hangs on the loop itself, nothing on the loop can notice."""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_EVERY = 0.2  # seconds
ASLEEP = 2.0  # seconds between two looks after which the whole process must have been stopped in between


def end_now(reason: str) -> None:
    """Log where every thread is and end with status 1. Whoever waits loses the connection: nobody could answer."""
    log.critical("%s: giving up", reason)
    faulthandler.dump_traceback(sys.stderr)
    os._exit(1)


class Watchdog:
    """A thread that the loop must call `beat` for every `deadline` seconds; else it calls `give_up` with the reason."""

    def __init__(self, deadline: float, give_up: Callable[[str], object] = end_now) -> None:
        self._deadline, self._give_up = deadline, give_up
        self._last_beat = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def beat(self) -> None:
        self._last_beat = time.monotonic()

    def _watch(self) -> None:
        looked = self._last_beat = time.monotonic()
        while not self._stopped.wait(LOOK_EVERY):
            now = time.monotonic()
            if now - looked > ASLEEP:  # a paused container or a suspended machine: the loop was stopped too
                self._last_beat = now
            looked = now
            if now - self._last_beat > self._deadline:
                self._give_up(f"the event loop has hung for over {self._deadline:g} s")
                return
