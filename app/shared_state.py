"""What the workers of one service know of each other: some memory that all of them see, without locks.

It is made before they are forked. Nobody ever waits for another, who may have been killed in the middle of a write.
"""

import secrets
import sys
import threading
import zlib
from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Any

from app.settings import Settings
from model.devices import CORES, choose

MOST_WORKERS = 4  # workers that nobody asked for
VERSION_SLOTS = 2**14  # slots for versions; two tasks in one slot are looked up once too often
RATE_LIMITED_KEYS = 2**16  # keys with a rate of their own that are counted apart


def worker_count(settings: Settings) -> int:
    """As the settings say. If they leave it open: one, where a GPU or a store that others share decides the speed."""
    if settings.workers:
        return settings.workers
    if settings.store_url or not sys.platform.startswith("linux") or choose(settings.device).type == "cuda":
        return 1
    return min(CORES, MOST_WORKERS)


class SharedState:
    """The workers of one service; of one only, where nobody forks."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._own = 0
        self._pieces, self._counting = 0, threading.Lock()  # of the device's work, by this worker's threads
        self._computing = RawArray("B", workers)
        self._requests = RawArray("i", workers)
        self._overloaded_until = RawArray("d", workers)
        self._versions = RawArray("Q", VERSION_SLOTS)
        #: For each key when its rate is used up no longer, by the monotonic clock; see `app.http.keys`.
        self.rate_states = RawArray("d", RATE_LIMITED_KEYS)

    def join(self, own: int) -> None:
        """Become the worker of this number."""
        self._own = own
        self._computing[own] = self._requests[own] = self._overloaded_until[own] = 0

    # -- cores -------------------------------------------------------------------------------

    def while_computing(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The device's work, of which the others know while it lasts."""

        def known(batch: Any) -> Any:
            self._count(1)
            try:
                return run(batch)
            finally:
                self._count(-1)

        return known

    def _count(self, more: int) -> None:
        with self._counting:
            self._pieces += more
            self._computing[self._own] = self._pieces > 0

    def is_idle(self) -> bool:
        """Whether no other worker computes now, so that all cores are there to be used."""
        return self.workers == 1 or not any(self._computing[n] for n in range(self.workers) if n != self._own)

    # -- requests ----------------------------------------------------------------------------

    @property
    def own_requests(self) -> int:
        """Under way in this worker; its event loop sets it."""
        return int(self._requests[self._own])

    @own_requests.setter
    def own_requests(self, count: int) -> None:
        self._requests[self._own] = count

    @property
    def requests(self) -> int:
        """Under way in all workers."""
        return sum(self._requests)

    @property
    def own_overloaded_until(self) -> float:
        """Until when this worker has more to do than it can, by the monotonic clock."""
        return float(self._overloaded_until[self._own])

    @own_overloaded_until.setter
    def own_overloaded_until(self, at: float) -> None:
        self._overloaded_until[self._own] = at

    @property
    def overloaded_until(self) -> float:
        """Until when any worker has."""
        return float(max(self._overloaded_until))

    # -- tasks -------------------------------------------------------------------------------

    def version(self, task_id: str) -> int:
        """Another number after every change of the task by any worker. Take it before the task is read."""
        return int(self._versions[zlib.crc32(task_id.encode()) % VERSION_SLOTS])

    def bump_version(self, task_id: str) -> None:
        """To be told of a change or deletion once it is stored, before it is acknowledged."""
        self._versions[zlib.crc32(task_id.encode()) % VERSION_SLOTS] = secrets.randbits(64)  # a count could be lost

    def bump_all_versions(self) -> None:
        """After a worker's death: it may have stored what it told nobody of."""
        for place in range(VERSION_SLOTS):
            self._versions[place] = secrets.randbits(64)
