"""Several processes that serve one port: a Python process computes on little more than one core.

They are forked from one that has imported everything, so they share that memory and begin in a moment. It serves
nobody; it starts those that die anew, hands signals on, and ends when it is told to or when they cannot begin.
"""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from app.shared_state import SharedState

log = logging.getLogger(__name__)

FORWARDED_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
PARENT_DEATH = 1  # PR_SET_PDEATHSIG
STOP_GRACE = 10.0  # seconds beyond what a worker may take to stop

# Serves as the worker of a number until it is told to stop; calls what it is given once it is up.
Serve = Callable[[int, Callable[[], None]], None]


class Worker:
    """A process, and what it said."""

    def __init__(self, number: int, work: Callable[[int, Connection], None]) -> None:
        self.number, self.is_ready = number, False
        self.ready_pipe, ours = multiprocessing.Pipe(duplex=False)
        self.process: ForkProcess = multiprocessing.get_context("fork").Process(target=work, args=(number, ours))
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)  # until it no longer has this process's handlers
        self.process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        ours.close()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)


class Workers:
    """Runs `shared_state.workers` processes that each `serve`."""

    def __init__(
        self, shared_state: SharedState, serve: Serve, sockets: list[socket.socket], stop_seconds: float
    ) -> None:
        self._shared_state, self._serve, self._sockets, self._stop_seconds = shared_state, serve, sockets, stop_seconds
        self._workers: list[Worker] = []
        self._signals: list[int] = []

    def run(self) -> int:
        """The exit status: 0 if told to stop, 1 if a worker could not begin."""
        awake, waker = socket.socketpair()
        awake.setblocking(False)
        waker.setblocking(False)
        for each in FORWARDED_SIGNALS:
            signal.signal(each, self._heard)
        signal.set_wakeup_fd(waker.fileno())
        self._start(0)
        while True:
            ready_pipe = [worker.ready_pipe for worker in self._workers if not worker.is_ready]
            wait([awake, *ready_pipe, *(worker.process.sentinel for worker in self._workers)])
            with contextlib.suppress(BlockingIOError):
                awake.recv(4096)
            for number in self._take_signals():
                if number != signal.SIGHUP:
                    return self._stop(0)
                for worker in self._workers:
                    if worker.is_ready:
                        worker.send(number)
            self._note_ready_workers()
            if not self._restart_dead_workers():
                return self._stop(1)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _start(self, number: int) -> None:
        self._workers.append(Worker(number, self._work))

    def _note_ready_workers(self) -> None:
        for worker in self._workers:
            if not worker.is_ready and worker.ready_pipe.poll():
                with contextlib.suppress(EOFError):  # it died
                    worker.is_ready = worker.ready_pipe.recv()
        # One after the other: each finds its way of computing by timing, and the first would end with a bad weights
        # folder's one line of error, not all of them.
        if all(worker.is_ready for worker in self._workers) and len(self._workers) < self._shared_state.workers:
            self._start(len(self._workers))

    def _restart_dead_workers(self) -> bool:
        """Start those anew that have died; False if one had not come up."""
        for worker in list(self._workers):
            if worker.process.exitcode is None:
                continue
            if not worker.is_ready:
                return False
            log.error("worker %d ended with status %d: starting it anew", worker.number, worker.process.exitcode)
            mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
            self._workers.remove(worker)
            self._shared_state.bump_all_versions()
            self._start(worker.number)
        return True

    def _stop(self, status: int) -> int:
        for each in self._sockets:
            each.close()  # the workers' own are open as long as they serve
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        until = time.monotonic() + self._stop_seconds + STOP_GRACE
        while any(worker.process.exitcode is None for worker in self._workers) and time.monotonic() < until:
            wait([worker.process.sentinel for worker in self._workers if worker.process.exitcode is None], 0.1)
            for number in self._take_signals():  # a second time: at once
                for worker in self._workers:
                    worker.send(number)
        for worker in self._workers:
            if worker.process.exitcode is None:
                log.error("worker %d did not stop in time", worker.number)
                worker.process.kill()
                worker.process.join()
            # Before it was up there was nothing to finish: SIGTERM itself ended it.
            status = status or (worker.process.exitcode not in (0, -signal.SIGTERM))
        return int(status)

    def _work(self, number: int, ready_pipe: Connection) -> None:
        """What a worker's process does."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until its server listens for it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        parent = os.getppid()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)  # nobody would hand signals on to it
        if os.getppid() != parent:
            return
        self._shared_state.join(number)
        with contextlib.suppress(KeyboardInterrupt):
            self._serve(number, lambda: ready_pipe.send(True))
