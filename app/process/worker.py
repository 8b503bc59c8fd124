"""One worker process as its parent sees it."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from app.process.children import FORWARDED_SIGNALS

# A worker that has served this long is replaced at once when it dies. An earlier death is an early failure.
EARLY_SECONDS = 10.0  # since the worker became ready


class Worker:
    """One worker process, and whether it answers requests yet."""

    def __init__(self, number: int, work: Callable[[int, Connection], None]) -> None:
        self.number = number
        self.started_at = time.monotonic()
        self.ready_at: float | None = None  # by the monotonic clock
        self.must_reload = False  # a SIGHUP came during its start, so it may have loaded the old models
        self.ready_pipe, ours = multiprocessing.Pipe(duplex=False)
        self.process: ForkProcess = multiprocessing.get_context("fork").Process(target=work, args=(number, ours))
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)  # until the child has replaced the signal handlers
        self.process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        ours.close()

    @property
    def is_ready(self) -> bool:
        return self.ready_at is not None

    @property
    def is_alive(self) -> bool:
        return self.process.exitcode is None

    @property
    def is_early(self) -> bool:
        """Whether it has served for less than `EARLY_SECONDS`, so that its death now is an early failure."""
        return self.ready_at is None or time.monotonic() - self.ready_at < EARLY_SECONDS

    def send(self, signal_number: int) -> None:
        """Send a signal; a process that has ended is left alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal_number)
