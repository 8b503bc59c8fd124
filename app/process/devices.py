"""Starts the device processes, one for each GPU, and replaces those that end or hang.

The parent that forks them never touches a GPU itself: a process forked from one that did could not use it.
"""

import logging
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess

import torch

from app.inference.remote.board import Board
from app.process.children import FORWARDED_SIGNALS, die_with_parent

log = logging.getLogger(__name__)

START_SECONDS = 300.0  # that a device process may take until it beats: it loads its models and records graphs
ASLEEP = 2.0  # seconds between two looks after which the whole machine must have been stopped in between
MAX_EARLY_FAILURES = 5  # in a row, without having served
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before the next start, after the second failure in a row


def device_names(setting: str) -> list[str]:
    """The devices that need a process of their own, as PyTorch knows them; none if models run in the workers.

    `setting` is that of `LEO_DEVICE`. Raises `ValueError` for a GPU that this machine does not have.
    """
    if setting.startswith("process:"):  # for tests: as on a GPU, without one
        return ["cpu"] * len(setting.split(","))
    if setting == "cpu":
        return []
    found = count_gpus()
    if setting == "auto":
        return ["cuda:0"] if found else []
    wanted = ["cuda:0" if name == "cuda" else name for name in setting.split(",")]
    for name in wanted:
        if int(name.removeprefix("cuda:")) >= found:
            here = ", ".join(f"cuda:{number}" for number in range(found)) or "none"
            raise ValueError(f"there is no GPU {name} here (found: {here}); set LEO_DEVICE to one that is, or to cpu")
    return wanted


def count_gpus() -> int:
    """How many GPUs there are, asked in another process, since asking may begin to use them."""
    child = os.fork()
    if child == 0:
        count = 0
        try:
            count = min(torch.cuda.device_count(), 255)
        finally:
            os._exit(count)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class DeviceProcess:
    """One device's process, and how often it has failed."""

    def __init__(self, number: int, work: Callable[[int], None]) -> None:
        self._number, self._work = number, work
        self.process: ForkProcess | None = None
        self.failures = 0  # in a row, before it beat
        self.due = -math.inf  # when to start it again
        self.is_killed = False

    def start(self) -> None:
        process = multiprocessing.get_context("fork").Process(target=self._work, args=(self._number,))
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)  # until the child has replaced the handlers
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        self.process, self.is_killed = process, False


class DeviceProcesses:
    """The device processes of a service, looked after by its parent."""

    def __init__(self, board: Board, serve: Callable[[int], None], deadline: float) -> None:
        """`serve` loads models and answers for the device with this number. `deadline`: seconds for one batch."""
        self._board, self._serve, self._deadline = board, serve, deadline
        self.in_child: Callable[[], None] = lambda: None  # lets go of what a device process must not hold open
        self._processes = [DeviceProcess(number, self._work) for number in range(len(board.devices))]
        self._looked = self._awake_since = time.monotonic()

    @property
    def sentinels(self) -> list[int]:
        """What becomes readable when a device process ends."""
        return [each.process.sentinel for each in self._processes if each.process is not None]

    @property
    def have_failed(self) -> bool:
        """Whether no device process can be started."""
        return min(each.failures for each in self._processes) >= MAX_EARLY_FAILURES

    def look(self) -> None:
        """Start what does not run, and end what hangs. Call it every half second, and when a process has ended."""
        now = time.monotonic()
        if now - self._looked > ASLEEP:
            self._awake_since = now
        self._looked = now
        for number, each in enumerate(self._processes):
            if each.process is None:
                if each.due <= now:
                    # Until it beats itself it has this long.
                    self._board.beats[number] = now + START_SECONDS - self._deadline
                    each.start()
            elif each.process.exitcode is not None:
                self._note_end(number, each, each.process)
            elif not each.is_killed and now - max(self._board.beats[number], self._awake_since) > self._deadline:
                log.critical("device process %d has hung for over %g s: ending it", number, self._deadline)
                each.process.kill()
                each.is_killed = True

    def _note_end(self, number: int, ended: DeviceProcess, process: ForkProcess) -> None:
        from app.observability.metric_files import keep_counts_of  # imported late, see PROMETHEUS_MULTIPROC_DIR

        now = time.monotonic()
        has_served = self._board.beats[number] <= now
        ended.failures = 0 if has_served else ended.failures + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (ended.failures - 2)) if ended.failures > 1 else 0.0
        log.error(
            "device process %d ended with status %s: starting another%s",
            number,
            process.exitcode,
            f" in {pause:g} s" * (pause > 0),
        )
        keep_counts_of(process.pid or 0)
        ended.process, ended.due = None, now + pause
        self._board.images[number] = 0
        if not pause:
            self.look()

    def stop(self) -> None:
        """End all device processes; there is nothing that they would have to finish."""
        for each in self._processes:
            if each.process is not None:
                each.process.terminate()
        for each in self._processes:
            if each.process is not None:
                each.process.join(5)
                each.process.kill()
                each.process.join()

    def _work(self, number: int) -> None:
        """The main function of a device process."""
        signal.set_wakeup_fd(-1)
        for each in FORWARDED_SIGNALS:
            # Ctrl-C reaches it too, but workers need it until the parent ends it; new models it loads when asked.
            signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
        if die_with_parent():
            self.in_child()
            self._serve(number)
        sys.exit(1)
