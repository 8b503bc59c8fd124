"""Tasks with their heads decoded, the most recently used ones, bounded in bytes."""

import time
from dataclasses import dataclass

from cachetools import LRUCache
from torch import Tensor

from app.store import TaskRecord

SWEEP_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Head:
    """A task's classifier, on the device: `weight` [N,F], `bias` [N]."""

    weight: Tensor
    bias: Tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return self.weight.nbytes + self.bias.nbytes


@dataclass(frozen=True)
class Warm:
    """A task ready to predict, whether or not the store can be reached."""

    record: TaskRecord
    head: Head

    @property
    def size(self) -> int:
        """Bytes of what can be large."""
        return self.head.size + self.record.codes.nbytes


class WarmTasks:
    """Tasks by id. Only a shortcut: what is not here is decoded again from the stored codes."""

    def __init__(self, max_bytes: int) -> None:
        self._tasks: LRUCache[str, Warm] = LRUCache(max_bytes, getsizeof=lambda warm: warm.size)
        # Deleted while a prediction was under way, a task must not come back with its result.
        self._deleted: LRUCache[str, bool] = LRUCache(10_000)
        self._next_sweep = 0.0  # by the monotonic clock

    def get(self, task_id: str, owner: str) -> Warm | None:
        """The owner's task, if it is here and has not expired."""
        warm = self._tasks.get(task_id)
        if warm is None or warm.record.owner != owner:
            return None
        if warm.record.expires_at is not None and warm.record.expires_at <= time.time():
            self._tasks.pop(task_id, None)
            return None
        return warm

    def put(self, warm: Warm) -> None:
        self._sweep()
        task_id = warm.record.task_id
        held = self._tasks.get(task_id)
        if held and held.record.revision > warm.record.revision:  # changed while a prediction was under way
            return
        if warm.size <= self._tasks.maxsize and task_id not in self._deleted:  # a larger one is decoded each time
            self._tasks[task_id] = warm

    def _sweep(self) -> None:
        """`get` never gives an expired task; this only frees its room."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_EVERY
            now = time.time()
            for task_id in [
                key for key, warm in self._tasks.items() if warm.record.expires_at and warm.record.expires_at <= now
            ]:
                self._tasks.pop(task_id)

    def drop(self, task_id: str) -> None:
        """Forget a task that was deleted, for good."""
        self._tasks.pop(task_id, None)
        self._deleted[task_id] = True

    @property
    def size(self) -> int:
        """Bytes held."""
        return int(self._tasks.currsize)

    def __len__(self) -> int:
        return len(self._tasks)
