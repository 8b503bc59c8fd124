"""Ends a process whose event loop no longer turns: what the loop runs itself may hang, and nothing on it notices."""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY = 0.2  # seconds between looks
ASLEEP = 2.0  # seconds between two looks that say that the whole process did not get to run meanwhile


def end_now(reason: str) -> None:
    """Say where every thread is, and end with status 1: those who wait lose their connections, as there is no other way
    to answer them."""
    log.critical("%s: giving up", reason)
    faulthandler.dump_traceback(sys.stderr)
    os._exit(1)


class Watchdog:
    """A thread that the loop must `beat` every `deadline` seconds; else `give_up` is called with the reason."""

    def __init__(self, deadline: float, give_up: Callable[[str], object] = end_now) -> None:
        self._deadline, self._give_up = deadline, give_up
        self._beat = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def beat(self) -> None:
        self._beat = time.monotonic()

    def _watch(self) -> None:
        looked = self._beat = time.monotonic()
        while not self._stopped.wait(EVERY):
            now = time.monotonic()
            if now - looked > ASLEEP:  # a paused container, a suspended machine: the loop was stopped too
                self._beat = now
            looked = now
            if now - self._beat > self._deadline:
                self._give_up(f"the event loop has hung for over {self._deadline:g} s")
                return
