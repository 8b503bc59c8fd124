"""What the workers of one service share: a little memory that all of them see, without locks.

It is allocated before they are forked. Without locks nobody ever waits for a worker that was killed inside a write.
"""

import threading
import zlib
from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Any

VERSION_SLOTS = 2**14  # two tasks that share a slot only cost each other a look at the store
RATE_LIMITED_KEYS = 2**16  # keys in use at once with a rate limit that are counted apart


class SharedState:
    """What workers tell each other; of a service with one process, what that process tells itself."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._own = 0  # this worker's number
        self._computations, self._lock = 0, threading.Lock()  # of this worker's threads, under way
        self._computing = RawArray("B", workers)
        self._ready = RawArray("B", workers)
        self._requests = RawArray("i", workers)
        self._overloaded_until = RawArray("d", workers)
        # Counts of changes, a row for each worker and one for the parent. Each writes its own row only, so no count is
        # ever lost; a task's version is the sum over the rows.
        self._changes = [RawArray("Q", VERSION_SLOTS) for _ in range(workers + 1)]
        #: Device and inode of the task store's file, once a process of this service has opened it.
        self.store_file = RawArray("Q", 2)
        #: Which key holds each slot, and when its token bucket is full again, by the monotonic clock: `app.http.rates`.
        self.rate_owners, self.rate_states = RawArray("Q", RATE_LIMITED_KEYS), RawArray("d", RATE_LIMITED_KEYS)

    def join(self, number: int) -> None:
        """Become the worker with this number."""
        self._own = number
        self._clear(number)

    def _clear(self, number: int) -> None:
        self._computing[number] = self._requests[number] = self._overloaded_until[number] = 0

    # -- workers -----------------------------------------------------------------------------

    def set_ready(self, number: int, *, ready: bool) -> None:
        """The parent says whether a worker answers requests; what a dead one had under way is forgotten."""
        self._ready[number] = ready
        if not ready:
            self._clear(number)

    @property
    def ready_workers(self) -> int:
        """How many workers answer requests; a process without a parent answers for itself."""
        return sum(self._ready) if self.workers > 1 else 1

    # -- cores -------------------------------------------------------------------------------

    def while_computing(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap the device's work so that the other workers know while it runs."""

        def wrapped(batch: Any) -> Any:
            self._count(1)
            try:
                return run(batch)
            finally:
                self._count(-1)

        return wrapped

    def _count(self, change: int) -> None:
        with self._lock:
            self._computations += change
            self._computing[self._own] = self._computations > 0

    def is_idle(self) -> bool:
        """Whether no other worker computes now, so that this one may use all cores."""
        return self.workers == 1 or not any(self._computing[n] for n in range(self.workers) if n != self._own)

    # -- requests ----------------------------------------------------------------------------

    @property
    def own_requests(self) -> int:
        """Requests under way in this worker; only its event loop sets it."""
        return int(self._requests[self._own])

    @own_requests.setter
    def own_requests(self, count: int) -> None:
        self._requests[self._own] = count

    @property
    def requests(self) -> int:
        """Requests under way in all workers."""
        return sum(self._requests)

    @property
    def own_overloaded_until(self) -> float:
        """Until when this worker has more requests than it can serve, by the monotonic clock."""
        return float(self._overloaded_until[self._own])

    @own_overloaded_until.setter
    def own_overloaded_until(self, at: float) -> None:
        self._overloaded_until[self._own] = at

    @property
    def overloaded_until(self) -> float:
        """Until when any worker has more requests than it can serve."""
        return float(max(self._overloaded_until))

    # -- tasks -------------------------------------------------------------------------------

    def version(self, task_id: str) -> int:
        """A number that grows whenever any worker changes the task. Read it before reading the task."""
        slot = _slot(task_id)
        return sum([row[slot] for row in self._changes])

    def bump_version(self, task_id: str) -> int:
        """Call after a change or deletion is stored and before it is acknowledged; returns the new version.

        It is one more than the version before unless another worker has changed the task (or its slot) meanwhile.
        """
        self._changes[self._own][_slot(task_id)] += 1
        return self.version(task_id)

    def bump_all_versions(self) -> None:
        """The parent calls this after a worker's death: it may have stored a change and told nobody."""
        for slot in range(VERSION_SLOTS):
            self._changes[self.workers][slot] += 1


def _slot(task_id: str) -> int:
    return zlib.crc32(task_id.encode()) % VERSION_SLOTS
