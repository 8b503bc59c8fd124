"""What all that can be done with a task shares: models, queue, store and cache, and reading a task."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar, TypeVarTuple, cast
from weakref import WeakValueDictionary

from app.inference.decoding import ImageDecoder
from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.work import Decode, Head, Images, WorkQueue
from app.observability import metrics
from app.problems import Problem, no_such_task
from app.settings import Settings
from app.shared_state import SharedState
from app.store import IdempotencyRecord, PictureChanges, TaskRecord, TaskStore
from app.store.errors import IdempotencyConflict, TooManyPictures, TooManyTasks
from app.tasks.cache import TaskCache
from app.tasks.examples import Examples, unpack
from app.tasks.limits import numbering_negatives

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")

MOST_TRIES = 20  # at a change that callers of other workers keep overtaking


class TaskBase:
    """The batcher adapts and predicts, the store keeps tasks, the cache holds heads."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        batcher: WorkQueue,
        store: TaskStore,
        shared_state: SharedState | None = None,
    ) -> None:
        self._settings, self._models, self._batcher, self._store = settings, models, batcher, store
        self._shared_state = shared_state or SharedState()
        self._cache = TaskCache(settings.cache_bytes)
        self._decoder = ImageDecoder(settings, self._shared_state)
        self._changing = WeakValueDictionary[str, asyncio.Lock]()  # by the id of the task that is being changed
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="tasks")  # for reports, digests and exports
        metrics.register_gauge(metrics.cache_bytes, lambda: self._cache.size)
        metrics.register_gauge(metrics.cache_tasks, lambda: len(self._cache))

    def close(self) -> None:
        self._decoder.close()
        self._pool.shutdown(cancel_futures=True)

    def _turn(self, task_id: str) -> asyncio.Lock:
        """Held while a task is changed: callers of one worker take turns, and none works in vain."""
        return self._changing.setdefault(task_id, asyncio.Lock())

    async def get(self, task_id: str, owner: str) -> TaskRecord:
        """The owner's task. Raises `Problem` 404."""
        record = await self._store.get(task_id, owner)
        if record is None:
            raise no_such_task()
        return record

    async def _first_answer(self, owner: str, idempotency: IdempotencyRecord | None) -> TaskRecord | None:
        """What the request with this `Idempotency-Key` was answered, if it came before. Raises `Problem` 422."""
        if idempotency is None:
            return None
        with store_refusals():
            return await self._store.find_by_idempotency_key(owner, idempotency)

    def _picture_changes(self, added: Mapping[int, bytes], removed: int | None = None) -> PictureChanges:
        return PictureChanges(added, self._settings.kept_bytes, removed)

    async def _with_examples(self, task_id: str, owner: str) -> tuple[TaskRecord, Examples]:
        """A task and its examples, as they were at one moment. Raises `Problem` 404, or 409 if they were not kept."""
        found = await self._store.with_support(task_id, owner)
        if found is None:
            raise no_such_task()
        record, payload = found
        if payload is None:
            raise Problem(
                409,
                "this task's examples were not kept (keep_support was false, or it was imported): create it again",
            )
        return record, unpack(payload, record)

    async def _get_usable(self, task_id: str, owner: str) -> TaskRecord:
        """A stored task that a loaded model can decode. Raises `Problem` 404, or 409 naming both versions."""
        record = await self.get(task_id, owner)
        self._models.for_task(record)
        return record

    async def _record_and_head(self, task_id: str, owner: str) -> tuple[TaskRecord, Head]:
        record = await self._get_usable(task_id, owner)
        cached = self._cache.get(task_id, owner)
        if cached and cached.head and cached.record.answers_as(record):
            return record, cached.head
        return record, await self._decode_head(record)

    async def _decode(
        self, engine: Engine, images: Sequence[bytes], negatives: Sequence[bytes]
    ) -> tuple[Images, Images]:
        """Examples of classes [S,R,R] and of none of them [M,R,R], as a model takes them. Raises `Problem`."""
        if negatives and not engine.takes_negatives:
            raise Problem(422, f"the model {engine.info.name} can make no use of negatives: leave them out")
        with numbering_negatives(len(images)):
            every = await self._decoder.decode([*images, *negatives], engine.read)
        return every[: len(images)], every[len(images) :]

    async def _decode_head(self, record: TaskRecord) -> Head:
        """The head of a task's classes, then of its negatives."""
        return cast(Head, await self._batcher.submit(Decode(record.all_codes, record.model_version)))

    def _cache_changed(self, changed: TaskRecord, head: Head | None, version: int) -> TaskRecord:
        """Cache a task as the store has it after an update of the task that had this version, with its whole head."""
        changed = replace(changed, revision=changed.revision + 1)
        new_version = self._shared_state.bump_version(changed.task_id)
        if new_version == version + 1:  # else somebody else has changed it too, before or after
            self._cache.put(changed, head, new_version)
        return changed

    async def _in_thread(self, function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> Returned:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def shift_of(record: TaskRecord, engine: Engine) -> float:
    """How much higher than usual the pictures of a task's own classes score; 0 if its model has no background."""
    background = engine.leo.background
    return 0.0 if background is None else background.shift(mean_shots(record), record.cohesion, record.own_score)


def mean_shots(record: TaskRecord) -> float:
    """How many examples a task's classes have on average."""
    return sum(record.shots.values()) / len(record.shots)


def contended() -> Problem:
    return Problem(409, "others keep changing this task; try again", retry_after=1)


@contextlib.contextmanager
def store_refusals(max_tasks: int | None = None) -> Iterator[None]:
    """Tell the caller what the store refuses on purpose."""
    try:
        yield
    except IdempotencyConflict:
        raise Problem(
            422, "this Idempotency-Key was used for another request, or with other content; take a new key"
        ) from None
    except TooManyPictures:
        raise Problem(
            507, "the pictures that are kept for this key would take too many bytes; delete tasks that keep theirs"
        ) from None
    except TooManyTasks:
        raise Problem(
            429,
            f"this key may have {max_tasks} tasks and has them; delete some or let them expire",
            retry_after=60,
        ) from None
