"""Tasks kept in memory, the most recently used ones with their decoded heads, bounded in bytes."""

import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from cachetools import LRUCache

from app.inference.work import Head
from app.store import TaskRecord

SWEEP_EVERY = 60.0  # seconds
RECORD_BYTES = 1024  # of a record beside its codes and its labels, about
FEWEST_RECENT_MISSES = 16  # remembered; where many heads are cached, an eighth of their number


@dataclass(slots=True)
class CachedTask:
    """A task that can predict without a look at the store; without its head, that is decoded first."""

    record: TaskRecord
    head: Head | None
    version: int  # the task's in `app.shared_state`, read before the record was


class TaskCache:
    """Tasks by id, and the heads of those used last. Only a shortcut: the store has them all.

    A head is many times the size of the codes that it is decoded from. So heads are evicted first, and a task without
    its head still needs no look at the store.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._records: LRUCache[str, tuple[TaskRecord, int]] = LRUCache(max_bytes, lambda held: _size(held[0]))
        self._heads: LRUCache[str, Head] = LRUCache(max_bytes, lambda head: head.size)
        self._head_size = 0  # bytes of the head that was put last
        self._recent_misses: OrderedDict[str, None] = OrderedDict()  # tasks asked for lately, whose heads did not fit
        # A task that is deleted while it predicts must not come back with the result of that prediction.
        self._deleted: LRUCache[str, bool] = LRUCache(10_000)
        self._next_sweep = 0.0  # by the monotonic clock

    def get(self, task_id: str, owner: str) -> CachedTask | None:
        """The owner's task, if it is here and has not expired."""
        record, version = self._records.get(task_id, (None, 0))
        if record is None or record.owner != owner:
            return None
        if record.expires_at is not None and record.expires_at <= time.time():
            self.forget(task_id)
            return None
        return CachedTask(record, self._heads.get(task_id), version)

    def is_worth_a_head(self, task_id: str) -> bool:
        """Whether a head that has to be decoded is likely to be used again before it is evicted.

        It is where there is room; else on the second miss in a short time. So tasks that come by once in a while
        evict nothing, and nothing is decoded in vain.
        """
        if self.size + self._head_size <= self._max_bytes:
            return True
        if task_id in self._recent_misses:
            del self._recent_misses[task_id]
            return True
        self._recent_misses[task_id] = None
        while len(self._recent_misses) > max(FEWEST_RECENT_MISSES, len(self._heads) // 8):
            self._recent_misses.popitem(last=False)
        return False

    def put(self, record: TaskRecord, head: Head | None, version: int = 0) -> None:
        """Keep a task as it was when it had this version. An older revision than the one held is ignored.

        So is a head that lacks the rows of the task's negatives.
        """
        self._sweep()
        task_id = record.task_id
        held, held_version = self._records.get(task_id, (None, 0))
        if task_id in self._deleted or (held and held.revision > record.revision):
            return
        if held is None or held.revision < record.revision or held_version != version:
            self.forget(task_id)
            if _size(record) > self._max_bytes:
                return
            light = replace(record, adaptation={}, quality=None)  # the reports are as large as all the rest
            self._records[task_id] = (light, version)
        is_whole = head is not None and len(head.bias) == len(record.codes) + record.negative_count
        if head and is_whole and head.size <= self._max_bytes:
            self._heads[task_id], self._head_size = head, head.size
        while self.size > self._max_bytes:
            (self._heads or self._records).popitem()

    def delete(self, task_id: str) -> None:
        """Forget a task for good."""
        self.forget(task_id)
        self._deleted[task_id] = True

    def forget(self, task_id: str) -> None:
        """Drop a task that is not as the store has it."""
        self._records.pop(task_id, None)
        self._heads.pop(task_id, None)

    def _sweep(self) -> None:
        """Free the room of expired tasks, which `get` does not return in any case."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_EVERY
            now = time.time()
            for task_id in [
                key for key, (record, _) in self._records.items() if record.expires_at and record.expires_at <= now
            ]:
                self.forget(task_id)

    @property
    def size(self) -> int:
        """Bytes held."""
        return int(self._records.currsize + self._heads.currsize)

    def __len__(self) -> int:
        return len(self._records)


def _size(record: TaskRecord) -> int:
    """Bytes of a record without its reports, about."""
    return RECORD_BYTES + record.all_codes.nbytes + sum(map(len, record.shots))
