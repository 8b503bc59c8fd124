"""What the workers of one service share: a little memory that all of them see, without locks.

It is allocated before they are forked. Without locks nobody ever waits for a worker that was killed inside a write.
"""

import contextlib
import fcntl
import math
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import RawArray
from typing import Any

SHARE_SLOTS = 2**12  # owners' shares whose requests are counted apart
VERSION_SLOTS = 2**14  # two tasks that share a slot only cost each other a look at the store
SMALLER_SECONDS = 1.0  # after an image that is not large, in which large ones leave a core to such
RATE_LIMITED_KEYS = 2**16  # keys in use at once with a rate limit that are counted apart


class SharedState:
    """What workers tell each other; of a service with one process, what that process tells itself."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._own = 0  # this worker's number
        self._computations, self._lock = 0, threading.Lock()  # of this worker's threads, under way
        self._computing = RawArray("B", workers)
        # When the latest image came that is not large, by the monotonic clock; of two writers at once either is right.
        self._smaller_at = RawArray("d", [-math.inf])
        # A file whose bytes are the places of `leaving_a_core`: what a process has locked ends with the process.
        self._places = os.memfd_create("places") if workers > 1 and sys.platform.startswith("linux") else None
        self._ready = RawArray("B", workers)
        self._beats = RawArray("d", workers)  # by the monotonic clock
        self._has_started = RawArray("B", [workers == 1])
        self.load = RequestLoad(workers)
        # Counts of changes, a row for each worker and one for the parent. Each writes its own row only, so no count is
        # ever lost; a task's version is the sum over the rows.
        self._changes = [RawArray("Q", VERSION_SLOTS) for _ in range(workers + 1)]
        #: Devices and inodes of the task store's files, once a process of this service has opened them.
        self.store_files = RawArray("Q", 6)
        #: Which key holds each slot, and when its token bucket is full again, by the monotonic clock: `app.http.rates`.
        self.rate_owners, self.rate_states = RawArray("Q", RATE_LIMITED_KEYS), RawArray("d", RATE_LIMITED_KEYS)

    def join(self, number: int) -> None:
        """Become the worker with this number."""
        self._own = self.load.own_worker = number
        self._clear(number)

    def _clear(self, number: int) -> None:
        self._computing[number] = 0
        self.load.clear(number)

    # -- workers -----------------------------------------------------------------------------

    def set_ready(self, number: int, *, ready: bool) -> None:
        """The parent says whether a worker answers requests; what a dead one had under way is forgotten."""
        self._ready[number] = ready
        if not ready:
            self._clear(number)

    def beat(self) -> None:
        """This worker's event loop has a turn."""
        self._beats[self._own] = time.monotonic()

    def last_beat(self, number: int) -> float:
        """When a worker's event loop last had a turn, by the monotonic clock."""
        return float(self._beats[number])

    @property
    def ready_workers(self) -> int:
        """How many workers answer requests; a process without a parent answers for itself."""
        return sum(self._ready) if self.workers > 1 else 1

    @property
    def has_started(self) -> bool:
        """Whether every worker has become ready once, or failed to; only the parent sets it."""
        return bool(self._has_started[0])

    @has_started.setter
    def has_started(self, has_started: bool) -> None:
        self._has_started[0] = has_started

    @property
    def others_are_ready(self) -> bool:
        """Whether another worker answers requests, and so has the task store open."""
        return any(self._ready[n] for n in range(self.workers) if n != self._own)

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

    def smaller_image_came(self) -> None:
        """Have large images leave a core to the others for the next second."""
        self._smaller_at[0] = time.monotonic()

    @contextlib.contextmanager
    def leaving_a_core(self) -> Iterator[None]:
        """Decode a large image inside, in a thread: waits for a place, of which there is one less than workers.

        While only large images come nothing waits, and they have all cores. A place is free again when its worker dies.
        """
        if self._places is None or time.monotonic() > self._smaller_at[0] + SMALLER_SECONDS:
            yield
            return
        place = self._own % (self.workers - 1)
        fcntl.lockf(self._places, fcntl.LOCK_EX, 1, place)
        try:
            yield
        finally:
            fcntl.lockf(self._places, fcntl.LOCK_UN, 1, place)

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


class RequestLoad:
    """How many requests of each share wait or run, and which shares asked for too many; see `app.http.turns`."""

    def __init__(self, workers: int) -> None:
        self.own_worker = 0
        # A row for each worker, which alone writes it.
        self._requests = [RawArray("i", SHARE_SLOTS) for _ in range(workers)]
        # By the monotonic clock. Any worker writes these; where two do at once, either is right.
        self.overloaded_since = RawArray("d", SHARE_SLOTS)
        self.refused_at = RawArray("d", SHARE_SLOTS)

    def own(self, slot: int) -> int:
        """Requests of a share in this worker."""
        return int(self._requests[self.own_worker][slot])

    def all(self, slot: int) -> int:
        """Requests of a share in all workers."""
        return sum([row[slot] for row in self._requests])

    def count(self, slot: int, change: int) -> None:
        """Count one more request of a share in this worker, or one less. Only its event loop does."""
        self._requests[self.own_worker][slot] += change

    def clear(self, worker: int) -> None:
        """Forget what a worker had under way."""
        self._requests[worker][:] = [0] * SHARE_SLOTS


def _slot(task_id: str) -> int:
    return zlib.crc32(task_id.encode()) % VERSION_SLOTS
