"""Runs several worker processes behind one port, since one Python process uses little more than one core.

The parent serves no requests. It imports everything before it forks, so that workers share that memory and start
quickly. It forwards signals to the workers, replaces those that die, and stops them all.
"""

import contextlib
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import FrameType

from app.inference.watchdog import ASLEEP
from app.process.children import FORWARDED_SIGNALS, die_with_parent
from app.process.devices import DeviceProcesses
from app.process.memory import workers_that_fit
from app.process.worker import Worker
from app.settings import Settings
from app.shared_state import SharedState
from model.devices import CORES
from model.serving.phi import TIMINGS

log = logging.getLogger(__name__)

DEVICES_EVERY = 0.25  # seconds between looks at the device processes
WORKERS_EVERY = 1.0  # seconds between looks at whether workers hang
# After this much more time than a worker's own watchdog takes, which says where the worker hangs, but cannot run while
# something holds the interpreter.
HANG_GRACE = 5.0  # seconds
# A start may take this many times as long as the longest successful one, since other workers may start beside it.
START_PATIENCE = 5
STOP_GRACE = 10.0  # seconds beyond `stop_seconds` before a worker is killed

# After an early failure of a worker (see `Worker.is_early`) the pause before the next start doubles each time.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
MAX_EARLY_FAILURES = 5  # in a row, of every worker; then the service exits, so that its supervisor notices

# The work of a worker: load the service, open its sockets with the first argument, call the second argument once
# requests are answered, and serve until a signal stops it.
Serve = Callable[[Callable[[], list[socket.socket]], Callable[[], None]], None]


def worker_count(settings: Settings) -> int:
    """The number of workers: the setting, else one for each core that memory allows, or one on a shared store."""
    if settings.workers:
        return settings.workers
    if settings.store_url or not sys.platform.startswith("linux"):
        return 1
    return min(CORES, workers_that_fit(settings))


class Workers:
    """Starts `shared_state.workers` processes that each run `serve`, and supervises them."""

    def __init__(
        self,
        shared_state: SharedState,
        serve: Serve,
        listen: Callable[[], list[socket.socket]],
        on_serving: Callable[[], None],
        stop_seconds: float,
        hang_seconds: float,
        devices: DeviceProcesses | None = None,
    ) -> None:
        """`listen` opens a worker's sockets. `on_serving` is called once the first worker is ready. `stop_seconds`: how
        long a worker may take to stop; `hang_seconds`: how long its event loop may be blocked. `devices` are run beside
        the workers. Raises `OSError`."""
        self._devices, self._on_serving = devices, on_serving
        self._shared_state, self._serve, self._listen, self._stop_seconds = shared_state, serve, listen, stop_seconds
        # The parent keeps a worker's sockets open while the worker is replaced, so that new clients wait for it. While
        # a worker pauses before its restart the sockets are closed: the system would give them connections that nobody
        # accepts. The worker then opens its own once it has loaded its models.
        self._sockets = {number: listen() for number in range(shared_state.workers)}
        self._workers: list[Worker] = []
        self._hang_seconds = hang_seconds + HANG_GRACE
        self._looked = self._awake_since = time.monotonic()
        if devices:
            devices.in_child = self._close_all_sockets
        self._signals: list[int] = []
        self._failures = [0] * shared_state.workers  # early failures in a row, by worker
        self._restarts: dict[int, float] = {}  # when to start a worker again, by the monotonic clock
        self._has_served = False  # whether any worker has ever been ready
        self._longest_start = 0.0  # seconds that a worker took until it was ready
        self._never_started = set(range(shared_state.workers))

    def run(self) -> int:
        """Supervise the workers until a signal; returns the exit status, 1 if no worker can start."""
        awake, waker = socket.socketpair()
        awake.setblocking(False)
        waker.setblocking(False)
        for each in FORWARDED_SIGNALS:
            signal.signal(each, self._on_signal)
        signal.set_wakeup_fd(waker.fileno())
        self._look_after_devices()
        self._start(0)
        while True:
            starting = [worker.ready_pipe for worker in self._workers if not worker.is_ready]
            ending = [worker.process.sentinel for worker in self._workers]
            ending += self._devices.sentinels if self._devices else []
            wait([awake, *starting, *ending], self._until_next_look())
            with contextlib.suppress(BlockingIOError):
                awake.recv(4096)
            for number in self._take_signals():
                if number != signal.SIGHUP:
                    return self._stop(0)
                self._reload()
            self._note_ready_workers()
            self._note_dead_workers()
            self._end_hung_workers()
            self._look_after_devices()
            if self._has_failed():
                return self._stop(1)
            self._start_missing_workers()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _start(self, number: int) -> None:
        self._workers.append(Worker(number, self._work))

    def _reload(self) -> None:
        for worker in self._workers:
            if worker.is_ready:
                worker.send(signal.SIGHUP)
            else:
                worker.must_reload = True

    def _note_ready_workers(self) -> None:
        for worker in self._workers:
            if not worker.is_ready and worker.ready_pipe.poll():
                with contextlib.suppress(EOFError):  # it died
                    TIMINGS.update(worker.ready_pipe.recv())  # for workers forked from now on
                    self._note_started(worker.number)
                    if not self._has_served:
                        self._on_serving()
                    worker.ready_at, self._has_served = time.monotonic(), True
                    self._longest_start = max(self._longest_start, worker.ready_at - worker.started_at)
                    self._shared_state.set_ready(worker.number, ready=True)
                    if worker.must_reload:
                        worker.send(signal.SIGHUP)

    def _note_started(self, number: int) -> None:
        """A worker has become ready, or failed to. The service is ready only after the first try of every worker."""
        self._never_started.discard(number)
        if not self._never_started:
            self._shared_state.has_started = True

    def _note_dead_workers(self) -> None:
        from app.observability.metric_files import keep_counts_of  # imported late, see PROMETHEUS_MULTIPROC_DIR

        for worker in [worker for worker in self._workers if not worker.is_alive]:
            self._workers.remove(worker)
            self._note_started(worker.number)
            self._shared_state.set_ready(worker.number, ready=False)
            self._shared_state.bump_all_versions()  # it may have died between storing a change and announcing it
            keep_counts_of(worker.process.pid or 0)
            failures = self._failures[worker.number] + 1 if worker.is_early else 0
            self._failures[worker.number] = failures
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2)) if failures > 1 else 0.0
            self._restarts[worker.number] = time.monotonic() + pause
            if pause:
                self._close_sockets(worker.number)
            if self._has_served:
                log.error(
                    "worker %d ended with status %s: starting it again%s",
                    worker.number,
                    worker.process.exitcode,
                    f" in {pause:g} s" if pause else "",
                )

    def _end_hung_workers(self) -> None:
        """Kill workers whose event loop has had no turn for long; they are then replaced as those that died.

        So are workers whose start takes long, which hold connections that nobody accepts.
        """
        now = time.monotonic()
        if now - self._looked > ASLEEP:  # a paused container or a suspended machine: the workers were stopped too
            self._awake_since = now
        self._looked = now
        for worker in self._workers:
            last = max(worker.ready_at or worker.started_at, self._awake_since)
            if worker.is_ready:
                last, limit = max(last, self._shared_state.last_beat(worker.number)), self._hang_seconds
            else:
                limit = self._start_limit(worker.number)
            if now - last > limit:
                log.critical("worker %d has hung for over %.0f s: killing it", worker.number, limit)
                if not worker.is_ready:  # counts as a second failure: its sockets close, and others get its connections
                    self._failures[worker.number] = max(1, self._failures[worker.number])
                worker.process.kill()
                worker.process.join()

    def _start_limit(self, number: int) -> float:
        """How long a worker may take to start, in seconds: longer after each failure, as machines may be slow."""
        if not self._has_served:
            return math.inf  # nothing tells yet how long a start takes, and nobody is served yet
        limit = max(self._hang_seconds, START_PATIENCE * self._longest_start)
        return limit * (1 << min(4, self._failures[number]))

    def _close_sockets(self, number: int) -> None:
        for each in self._sockets.pop(number, []):
            each.close()

    def _close_all_sockets(self) -> None:
        for number in list(self._sockets):
            self._close_sockets(number)

    def _has_failed(self) -> bool:
        """Whether the service cannot start, or every worker keeps failing early."""
        if self._devices and self._devices.have_failed:
            return True
        if not self._has_served:
            return bool(self._restarts)
        return not any(worker.is_ready for worker in self._workers) and min(self._failures) >= MAX_EARLY_FAILURES

    def _start_missing_workers(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._restarts.items() if due <= now]:
            del self._restarts[number]
            self._start(number)
        # The first worker starts alone: it measures how all compute fastest, and reports a bad weights folder once.
        if self._has_served:
            for number in range(len(self._workers) + len(self._restarts), self._shared_state.workers):
                self._start(number)

    def _look_after_devices(self) -> None:
        if self._devices:
            self._devices.look()

    def _until_next_look(self) -> float:
        """Seconds until a worker is due to start, or processes are looked at again."""
        look = WORKERS_EVERY if self._devices is None else DEVICES_EVERY
        return max(0.0, min([time.monotonic() + look, *self._restarts.values()]) - time.monotonic())

    def _stop(self, status: int) -> int:
        self._close_all_sockets()  # the workers keep their copies open while they serve
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        until = time.monotonic() + self._stop_seconds + STOP_GRACE
        while any(worker.is_alive for worker in self._workers) and time.monotonic() < until:
            wait([worker.process.sentinel for worker in self._workers if worker.is_alive], 0.1)
            for _ in self._take_signals():  # a second signal ends the wait for load balancers
                for worker in self._workers:
                    worker.send(signal.SIGTERM)
        for worker in self._workers:
            if worker.is_alive:
                log.error("worker %d did not stop in time", worker.number)
                worker.process.kill()
                worker.process.join()
            # The status of a worker that was still starting says nothing about the stop: it may just have failed.
            status = status or (worker.is_ready and worker.process.exitcode not in (0, -signal.SIGTERM))
        if self._devices:
            self._devices.stop()
        return int(status)

    def _work(self, number: int, ready_pipe: Connection) -> None:
        """The main function of a worker process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until its server installs a handler
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Ctrl-C in a terminal comes to all processes of the service; the parent alone acts on it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS - {signal.SIGINT})
        if not die_with_parent():
            return
        self._shared_state.join(number)
        sockets = self._sockets.pop(number, [])
        self._close_all_sockets()
        self._serve(lambda: sockets or self._listen(), lambda: ready_pipe.send(TIMINGS))
