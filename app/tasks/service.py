"""What creating, changing, reading and asking a task mean, whatever the transport."""

import asyncio
import contextlib
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar, TypeVarTuple, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from app.inference.decoding import ImageDecoder
from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.support_features import SupportFeatures, pack, unpack
from app.inference.work import Decode, Head, Images, Predict, Predicted, WorkQueue
from app.observability import metrics
from app.problems import Problem, no_such_task
from app.settings import Settings
from app.shared_state import SharedState
from app.store import (
    DamagedRecord,
    IdempotencyConflict,
    IdempotencyRecord,
    StoredPage,
    StoreUnavailable,
    TaskRecord,
    TaskStore,
    TooManyTasks,
)
from app.tasks import head_file
from app.tasks.adaptation import adapt
from app.tasks.cache import CachedTask, TaskCache
from app.tasks.idempotency import idempotency_record
from app.tasks.limits import check_answer, check_lifetime, check_shots, most_header_bytes, spell_labels
from app.tasks.options import TaskLifetime, TaskOptions, UpdateTask
from model.serving.onnx_export import to_onnx

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")

STORE_LOOK_SECONDS = 0.05  # that looking at the store may hold up the prediction of a cached task
MOST_TRIES = 5  # at a change that other callers keep overtaking
MOST_PAGES = 20  # of the store that are searched for one page of a filtered list


class Tasks:
    """Tasks of the loaded models: the batcher adapts and predicts, the store keeps them, the cache holds heads."""

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
        self._decoder = ImageDecoder(settings)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="tasks")  # for reports, digests and exports
        metrics.register_gauge(metrics.cache_bytes, lambda: self._cache.size)
        metrics.register_gauge(metrics.cache_tasks, lambda: len(self._cache))

    def close(self) -> None:
        self._decoder.close()
        self._pool.shutdown(cancel_futures=True)

    # -- creating and changing ---------------------------------------------------------------

    async def create(
        self,
        images: Sequence[bytes],
        labels: Sequence[str],
        options: TaskOptions,
        owner: str,
        *,
        idempotency_key: str | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        """Adapt to a support set and store the task, unless the same idempotency key has made it before.

        Raises `Problem`; nothing is stored then.
        """
        options, labels = check_lifetime(options, self._settings), spell_labels(labels, self._settings)
        check_shots(Counter(labels), self._settings)
        idempotency = None
        if idempotency_key is not None:
            idempotency = await self._in_thread(idempotency_record, idempotency_key, images, labels, options)
            with _store_refusals(max_tasks):
                first = await self._store.find_by_idempotency_key(owner, idempotency)
            if first:
                return first
        engine = await self._choose_model(options.model, images)
        decoded = await self._decoder.decode(images, engine.read)
        adaptation = await adapt(
            self._batcher, engine.info.version, decoded, labels, earlier_shots={}, earlier=None, pool=self._pool
        )
        now = time.time()
        record = TaskRecord(
            task_id=secrets.token_hex(12),
            owner=owner,
            name=options.name,
            model=engine.info.name,
            model_version=engine.info.version,
            created_at=now,
            expires_at=None if options.ttl_seconds is None else now + options.ttl_seconds,
            shots=adaptation.shots,
            codes=adaptation.codes,
            adaptation=adaptation.report,
            quality=adaptation.quality,
        )
        payload = pack(adaptation.support) if options.keep_support else None
        return await self._add(record, adaptation.head, payload, idempotency, max_tasks)

    async def import_head(
        self, data: bytes, options: TaskLifetime, owner: str, *, max_tasks: int | None = None
    ) -> TaskRecord:
        """Make a task from what `parameters` gave. Raises `Problem`."""
        options = check_lifetime(options, self._settings)
        exported = await self._in_thread(head_file.read, data, most_header_bytes(self._settings))
        shots = dict(zip(spell_labels(exported.labels, self._settings), exported.shots, strict=True))
        if len(shots) < len(exported.labels):
            raise Problem(422, "the file's labels must differ, and not only in spaces or their form in Unicode")
        check_shots(shots, self._settings)
        now = time.time()
        record = TaskRecord(
            task_id=secrets.token_hex(12),
            owner=owner,
            name=options.name,
            model=exported.model,
            model_version=exported.model_version,
            created_at=now,
            expires_at=None if options.ttl_seconds is None else now + options.ttl_seconds,
            shots=shots,
            codes=exported.codes,
            adaptation=exported.adaptation,
        )
        config = self._models.for_task(record).info.config
        if exported.codes.shape[1] != config.latent_dim or exported.weight.shape[1] != config.feature_dim:
            raise Problem(422, f"codes must be [N,{config.latent_dim}] and fc.weight [N,{config.feature_dim}]")
        head = await self._decode_head(record)
        for name, given, ours in (("fc.weight", exported.weight, head.weight), ("fc.bias", exported.bias, head.bias)):
            if not np.allclose(given, ours, rtol=1e-3, atol=1e-3):
                raise Problem(422, f"{name} is not what the file's codes decode to: it was changed after its export")
        return await self._add(record, head, None, None, max_tasks)

    async def _add(
        self,
        record: TaskRecord,
        head: Head | None,
        support: bytes | None,
        idempotency: IdempotencyRecord | None,
        max_tasks: int | None,
    ) -> TaskRecord:
        """Store a new task and cache it; where the same request was sent twice at once, return the other's task."""
        version = self._shared_state.version(record.task_id)
        with _store_refusals(max_tasks), metrics.stage("store"):
            stored = await self._store.add(record, support=support, idempotency=idempotency, max_tasks=max_tasks)
        metrics.tasks_created.labels(record.model).inc()
        if stored.task_id == record.task_id:
            self._cache.put(record, head, version)
        return stored

    async def add_support(self, task_id: str, images: Sequence[bytes], labels: Sequence[str], owner: str) -> TaskRecord:
        """Adapt a task again, to its earlier examples and these. Raises `Problem`; the task is then as it was."""
        decoded: Images | None = None
        for _ in range(MOST_TRIES):
            version = self._shared_state.version(task_id)
            record = await self._get_usable(task_id, owner)
            engine = self._models.for_task(record)
            payload = await self._store.support(task_id, owner)
            if payload is None:
                raise Problem(
                    409,
                    "this task's examples were not kept (keep_support was false, or it was imported): create it again",
                )
            classes = spell_labels(labels, self._settings, known=record.shots)
            check_shots(Counter(record.shots) + Counter(classes), self._settings)
            if decoded is None:
                decoded = await self._decoder.decode(images, engine.read)
            adaptation = await adapt(
                self._batcher,
                engine.info.version,
                decoded,
                classes,
                earlier_shots=record.shots,
                earlier=_unpack_support(payload, task_id),
                pool=self._pool,
            )
            changed = replace(
                record,
                shots=adaptation.shots,
                codes=adaptation.codes,
                adaptation=adaptation.report,
                quality=adaptation.quality,
            )
            if await self._store.update(changed, support=pack(adaptation.support)):
                return self._cache_changed(changed, adaptation.head, version)
        raise _contended()

    async def update(self, task_id: str, changes: UpdateTask, owner: str) -> TaskRecord:
        """Change a task's name or time to live. Raises `Problem`."""
        changes = check_lifetime(changes, self._settings)
        given = changes.model_dump(exclude_unset=True)
        for _ in range(MOST_TRIES):
            version = self._shared_state.version(task_id)
            record = await self.get(task_id, owner)
            changed = replace(record, name=given.get("name", record.name))
            if "ttl_seconds" in given:
                seconds = given["ttl_seconds"]
                changed = replace(changed, expires_at=None if seconds is None else time.time() + seconds)
            if await self._store.update(changed):
                cached = self._cache.get(task_id, owner)
                is_current = cached is not None and cached.record.revision == record.revision
                return self._cache_changed(changed, cached.head if cached and is_current else None, version)
        raise _contended()

    def _cache_changed(self, changed: TaskRecord, head: Head | None, version: int) -> TaskRecord:
        """Cache a task as the store has it after an update of the task that had this version."""
        changed = replace(changed, revision=changed.revision + 1)
        new_version = self._shared_state.bump_version(changed.task_id)
        if new_version == version + 1:  # else somebody else has changed it too, before or after
            self._cache.put(changed, head, new_version)
        return changed

    async def delete(self, task_id: str, owner: str) -> None:
        """Raises `Problem` 404."""
        if not await self._store.delete(task_id, owner):
            raise no_such_task()
        self._shared_state.bump_version(task_id)
        self._cache.delete(task_id)
        metrics.tasks_deleted.inc()

    # -- reading -----------------------------------------------------------------------------

    async def get(self, task_id: str, owner: str) -> TaskRecord:
        """Raises `Problem` 404."""
        record = await self._store.get(task_id, owner)
        if record is None:
            raise no_such_task()
        return record

    async def page(
        self, owner: str, limit: int, cursor: str | None, wanted: Callable[[TaskRecord], bool] | None = None
    ) -> StoredPage:
        """A page of tasks, newest first. Raises `Problem` 422 for a cursor of another service.

        With a filter a page may hold fewer than `limit` although there are more, since the search is bounded.
        """
        found = StoredPage([], {}, cursor)
        for _ in range(MOST_PAGES):
            missing = limit - len(found.records) - len(found.unreadable)
            try:
                page = await self._store.page(owner, missing, found.next_cursor)
            except ValueError:
                raise Problem(422, "the cursor is not one that this service gave out") from None
            records = page.records if wanted is None else list(filter(wanted, page.records))
            found = StoredPage(found.records + records, found.unreadable | page.unreadable, page.next_cursor)
            if len(found.records) + len(found.unreadable) == limit or found.next_cursor is None:
                break
        return found

    def reason_store_is_lost(self) -> str | None:
        """Why no task can be created or changed until a person does something about it, or None."""
        return self._store.reason_lost()

    async def count(self, owners: Iterable[str]) -> float:
        """How many tasks these owners have together; not a number while the store is away."""
        try:
            return sum(await asyncio.gather(*map(self._store.count, owners)))
        except StoreUnavailable:
            return math.nan

    async def parameters(self, task_id: str, owner: str) -> bytes:
        """The decoded head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N], and the `codes` [N,L]."""
        record, head = await self._record_and_head(task_id, owner)
        return head_file.write(record, head.weight, head.bias)

    async def onnx(self, task_id: str, owner: str) -> bytes:
        """phi and the head as one ONNX graph; see `model.serving.onnx_export`."""
        record, head = await self._record_and_head(task_id, owner)
        leo = self._models.for_task(record).leo
        described = {"task_id": task_id, "model": record.model, "model_version": record.model_version}
        return await self._in_thread(to_onnx, leo, head.weight, head.bias, record.labels, described, mean_shots(record))

    # -- asking ------------------------------------------------------------------------------

    async def predict(
        self, task_id: str, images: Sequence[bytes], owner: str, *, top_k: int = 1
    ) -> tuple[TaskRecord, NDArray[np.float32]]:
        """Probabilities [Q,N] of each image under the task's classes, of which `top_k` are wanted. Raises `Problem`."""
        version = self._shared_state.version(task_id)
        cached = await self._find_cached(task_id, owner, version)
        metrics.lookups_by_result["miss" if not cached else "hit" if cached.head else "codes"].inc()
        record = cached.record if cached else await self._get_usable(task_id, owner)
        check_answer(len(images), min(top_k, len(record.shots)))
        engine = self._models.for_task(record)
        decoded = await self._decoder.decode(images, engine.read)
        head = cached.head if cached else None
        decode = engine.keeps_heads and head is None and self._cache.is_worth_a_head(task_id)
        work = Predict(decoded, head, record.codes, record.model_version, mean_shots(record), decode)
        with metrics.stage("device"):
            predicted = cast(Predicted, await self._batcher.submit(work))
        for probability in predicted.probabilities.max(axis=1):
            metrics.confidence.observe(float(probability))
        if not cached or decode:
            self._cache.put(record, predicted.head, version)
        return record, predicted.probabilities

    async def _find_cached(self, task_id: str, owner: str, version: int) -> CachedTask | None:
        """The task from the cache, unless another worker or replica has changed or deleted it."""
        cached = self._cache.get(task_id, owner)
        if cached is None:
            return None
        if not self._store.shared:
            return cached if cached.version == version else None
        try:
            async with asyncio.timeout(STORE_LOOK_SECONDS):
                stored = await self._store.get(task_id, owner)
        except (TimeoutError, StoreUnavailable):
            return cached  # while the store is away, cached tasks keep predicting
        if stored is None:
            self._cache.delete(task_id)
            raise no_such_task()
        return cached if stored.revision == cached.record.revision else None

    async def _get_usable(self, task_id: str, owner: str) -> TaskRecord:
        """A stored task that a loaded model can decode. Raises `Problem` 404, or 409 naming both versions."""
        record = await self.get(task_id, owner)
        self._models.for_task(record)
        return record

    async def _record_and_head(self, task_id: str, owner: str) -> tuple[TaskRecord, Head]:
        record = await self._get_usable(task_id, owner)
        cached = self._cache.get(task_id, owner)
        if cached and cached.head and cached.record.revision == record.revision:
            return record, cached.head
        return record, await self._decode_head(record)

    async def _decode_head(self, record: TaskRecord) -> Head:
        return cast(Head, await self._batcher.submit(Decode(record.codes, record.model_version)))

    async def _choose_model(self, name: str | None, images: Sequence[bytes]) -> Engine:
        """The model asked for; without a name, and with models of both kinds, the one that fits the pictures."""
        if name is not None or not self._models.take_drawings_and_photos:
            return self._models.by_name(name)
        return self._models.for_kind(drawings=await self._decoder.mostly_drawings(images))

    async def _in_thread(self, function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> Returned:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def mean_shots(record: TaskRecord) -> float:
    """How many examples a task's classes have on average."""
    return sum(record.shots.values()) / len(record.shots)


def _unpack_support(payload: bytes, task_id: str) -> SupportFeatures:
    try:
        return unpack(payload)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedRecord(
            f"the stored examples of task {task_id} are damaged: delete the task and create it again"
        ) from error


def _contended() -> Problem:
    return Problem(409, "others keep changing this task; try again", retry_after=1)


@contextlib.contextmanager
def _store_refusals(max_tasks: int | None) -> Iterator[None]:
    """Tell the caller what the store refuses on purpose."""
    try:
        yield
    except IdempotencyConflict:
        raise Problem(
            422, "this Idempotency-Key was used for another support set or other options; take a new key"
        ) from None
    except TooManyTasks:
        raise Problem(
            429,
            f"this key may have {max_tasks} tasks and has them; delete some or let them expire",
            retry_after=60,
        ) from None
