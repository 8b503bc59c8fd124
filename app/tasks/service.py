"""What creating, changing, reading and predicting mean, whatever the transport."""

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from app.inference import decoding
from app.inference.batcher import Batcher
from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.support_features import SupportFeatures, pack, unpack
from app.inference.work import Adapt, Adapted, Decode, Head, Images, Predict, Predicted
from app.observability import metrics
from app.problems import Problem, no_such_task, overloaded
from app.settings import Settings
from app.shared_state import SharedState
from app.store import IdempotencyConflict, StoreUnavailable, TaskRecord, TaskStore, TooManyTasks
from app.tasks import head_file, quality_report
from app.tasks.cache import CachedTask, TaskCache
from app.tasks.idempotency import idempotency_record
from app.tasks.options import TaskLifetime, TaskOptions, UpdateTask
from model.serving.onnx_export import to_onnx

STORE_GLANCE = 0.05  # seconds that a look at the store may keep a cached task's prediction waiting
SMALL_SUPPORT = 50_000  # numbers, of whose report another thread and back would take longer than the report
TRIES = 5  # at a change that others keep overtaking
CONTENDED = "others keep changing this task; try again"
PAGES_SEARCHED = 20  # of a store, for one page of a filtered list


class Tasks:
    """Tasks of the models loaded: decode, adapt or predict through the batcher, keep in the store, cache heads."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        batcher: Batcher,
        store: TaskStore,
        shared_state: SharedState | None = None,
    ) -> None:
        self._settings, self._models, self._batcher, self._store = settings, models, batcher, store
        self._shared_state = shared_state or SharedState()
        self._cache = TaskCache(settings.cache_bytes)
        self._decoding_bytes = 0
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="decode")
        metrics.register_gauge(metrics.cache_bytes, lambda: self._cache.size)
        metrics.register_gauge(metrics.cache_tasks, lambda: len(self._cache))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    # -- making and changing -----------------------------------------------------------------

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
        """Adapt to a support set and store the task; or find it made already under the same key. Raises `Problem`."""
        once = idempotency_record(idempotency_key, images, labels, options) if idempotency_key is not None else None
        if once:
            with _store_refusals(max_tasks):
                first = await self._store.find_by_idempotency_key(owner, once)
            if first:
                return first
        engine = await self._chosen(options.model, images)
        inputs = await self._decoded(images, engine)
        adaptation = await self._adapt(engine, inputs, labels, {}, None)
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
            adaptation=adaptation.adaptation,
            quality=adaptation.quality,
        )
        payload = pack(adaptation.support) if options.keep_support else None
        version = self._shared_state.version(record.task_id)
        with _store_refusals(max_tasks), metrics.stage("store"):
            stored = await self._store.add(record, support=payload, once=once, max_tasks=max_tasks)
        metrics.tasks_created.labels(record.model).inc()
        if stored.task_id == record.task_id:  # else the same request came twice at once, and the other one was first
            self._cache.put(record, adaptation.head, version)
        return stored

    async def add_support(self, task_id: str, images: Sequence[bytes], labels: Sequence[str], owner: str) -> TaskRecord:
        """Adapt a task anew to its kept examples and these. Raises `Problem`; the task is then as it was."""
        inputs: Images | None = None
        for _ in range(TRIES):
            version = self._shared_state.version(task_id)
            record = await self._usable(task_id, owner)
            engine = self._models.for_task(record)
            payload = await self._store.support(task_id, owner)
            if payload is None:
                raise Problem(
                    409,
                    "this task's examples were not kept (keep_support was false, or it was imported): create it anew",
                )
            kept = unpack(payload)
            self._check_room(record, kept, labels)
            if inputs is None:
                inputs = await self._decoded(images, engine)
            adaptation = await self._adapt(engine, inputs, labels, record.shots, kept)
            changed = replace(
                record,
                shots=adaptation.shots,
                codes=adaptation.codes,
                adaptation=adaptation.adaptation,
                quality=adaptation.quality,
            )
            if await self._store.update(changed, support=pack(adaptation.support)):
                self._shared_state.bump_version(task_id)
                changed = replace(changed, revision=record.revision + 1)
                self._cache.put(changed, adaptation.head, version)
                return changed
        raise Problem(409, CONTENDED, retry_after=1)

    async def update(self, task_id: str, changes: UpdateTask, owner: str) -> TaskRecord:
        """Another name or time to live. Raises `Problem`."""
        given = changes.model_dump(exclude_unset=True)
        for _ in range(TRIES):
            version = self._shared_state.version(task_id)
            record = await self.get(task_id, owner)
            changed = replace(record, name=given.get("name", record.name))
            if "ttl_seconds" in given:
                seconds = given["ttl_seconds"]
                changed = replace(changed, expires_at=None if seconds is None else time.time() + seconds)
            if await self._store.update(changed):
                self._shared_state.bump_version(task_id)
                changed = replace(changed, revision=record.revision + 1)
                cached = self._cache.get(task_id, owner)
                if cached and cached.head and cached.record.revision == record.revision:
                    self._cache.put(changed, cached.head, version)
                return changed
        raise Problem(409, CONTENDED, retry_after=1)

    async def import_head(
        self, data: bytes, options: TaskLifetime, owner: str, *, max_tasks: int | None = None
    ) -> TaskRecord:
        """A new task from what `parameters` gave. Raises `Problem`."""
        exported = head_file.read(data)
        now = time.time()
        record = TaskRecord(
            task_id=secrets.token_hex(12),
            owner=owner,
            name=options.name,
            model=exported.model,
            model_version=exported.model_version,
            created_at=now,
            expires_at=None if options.ttl_seconds is None else now + options.ttl_seconds,
            shots=dict(zip(exported.labels, exported.shots, strict=True)),
            codes=exported.codes,
            adaptation=exported.adaptation,
        )
        config = self._models.for_task(record).info.config
        if exported.codes.shape[1] != config.latent_dim or exported.weight.shape[1] != config.feature_dim:
            raise Problem(422, f"codes must be [N,{config.latent_dim}] and fc.weight [N,{config.feature_dim}]")
        head, version = await self._decode(record), self._shared_state.version(record.task_id)
        for name, given, ours in (("fc.weight", exported.weight, head.weight), ("fc.bias", exported.bias, head.bias)):
            if not np.allclose(given, ours.cpu().numpy(), rtol=1e-3, atol=1e-3):
                raise Problem(422, f"{name} is not what the file's codes decode to: it was changed after its export")
        with _store_refusals(max_tasks):
            await self._store.add(record, max_tasks=max_tasks)
        metrics.tasks_created.labels(record.model).inc()
        self._cache.put(record, head, version)
        return record

    async def delete(self, task_id: str, owner: str) -> None:
        if not await self._store.delete(task_id, owner):
            raise no_such_task()
        self._shared_state.bump_version(task_id)
        self._cache.drop(task_id)
        metrics.tasks_deleted.inc()

    async def _adapt(
        self,
        engine: Engine,
        inputs: Images,
        labels: Sequence[str],
        before: dict[str, int],
        kept: SupportFeatures | None,
    ) -> "Adaptation":
        """Adapt to images behind those kept; classes are numbered as they first appear. Raises `Problem`."""
        shots = before | dict.fromkeys((label for label in labels if label not in before), 0)
        numbers = {label: number for number, label in enumerate(shots)}
        for label in labels:
            shots[label] += 1
        began = time.perf_counter()
        work = Adapt(inputs, np.array([numbers[label] for label in labels]), kept, engine.info.version)
        with metrics.stage("device"):
            adapted = cast(Adapted, await self._batcher.submit(work))
        took = time.perf_counter() - began
        if not adapted.is_finite:
            raise Problem(422, "adaptation turned non-finite on this support set; nothing was stored")
        metrics.observe_adaptation(adapted.losses)
        return Adaptation(
            shots=shots,
            codes=adapted.codes.cpu().numpy(),
            head=Head(adapted.weight, adapted.bias),
            support=adapted.support,
            adaptation={
                "losses": [round(loss, 6) for loss in adapted.losses],
                "support_accuracy": adapted.support_accuracy,
                "milliseconds": round(1000 * took, 3),
            },
            quality=await self._report(adapted.support),
        )

    async def _report(self, support: SupportFeatures) -> dict[str, Any]:
        if support.features.size <= SMALL_SUPPORT:
            return quality_report.of_support(support)
        return await asyncio.get_running_loop().run_in_executor(self._pool, quality_report.of_support, support)

    def _check_room(self, record: TaskRecord, kept: SupportFeatures, labels: Sequence[str]) -> None:
        ways = len(record.shots.keys() | set(labels))
        if ways > self._settings.max_ways:
            raise Problem(422, f"that makes {ways} classes, but a task may have {self._settings.max_ways}")
        if len(kept) + len(labels) > self._settings.max_images:
            raise Problem(
                422,
                f"with its {len(kept)} examples that makes {len(kept) + len(labels)}, "
                f"but a task may have {self._settings.max_images}",
            )

    # -- reading and asking ------------------------------------------------------------------

    async def get(self, task_id: str, owner: str) -> TaskRecord:
        record = await self._store.get(task_id, owner)
        if record is None:
            raise no_such_task()
        return record

    async def page(
        self, owner: str, limit: int, cursor: str | None, wanted: Callable[[TaskRecord], bool] | None = None
    ) -> tuple[list[TaskRecord], str | None]:
        """Newest first. With a filter fewer than `limit` may come although there are more: the search is bounded."""
        found: list[TaskRecord] = []
        for _ in range(PAGES_SEARCHED):
            try:
                records, cursor = await self._store.page(owner, limit - len(found), cursor)
            except ValueError:
                raise Problem(422, "the cursor is not one that this service gave out") from None
            found += records if wanted is None else filter(wanted, records)
            if len(found) == limit or cursor is None:
                break
        return found, cursor

    async def alive(self, owners: Iterable[str]) -> float:
        """How many tasks these have together; not a number while the store is away."""
        try:
            return sum(await asyncio.gather(*map(self._store.count, owners)))
        except StoreUnavailable:
            return math.nan

    async def predict(
        self, task_id: str, images: Sequence[bytes], owner: str
    ) -> tuple[TaskRecord, NDArray[np.float32]]:
        """Probabilities [Q,N] of each image under the task's classes. Raises `Problem`."""
        version = self._shared_state.version(task_id)
        cached = await self._find_current(task_id, owner, version)
        metrics.lookups_by_result["miss" if not cached else "hit" if cached.head else "codes"].inc()
        record = cached.record if cached else await self._usable(task_id, owner)
        engine = self._models.for_task(record)
        inputs = await self._decoded(images, engine)
        head = cached.head if cached else None
        decode = head is None and self._cache.is_worth_a_head(task_id)
        work = Predict(inputs, head, record.codes, record.model_version, mean_shots(record), decode)
        with metrics.stage("device"):
            predicted = cast(Predicted, await self._batcher.submit(work))
        for share in predicted.probabilities.max(axis=1):
            metrics.confidence.observe(float(share))
        if not cached or decode:
            self._cache.put(record, predicted.head, version)
        return record, predicted.probabilities

    async def parameters(self, task_id: str, owner: str) -> bytes:
        """The decoded head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N], and the `codes` [N,L]."""
        record, head = await self._record_and_head(task_id, owner)
        return head_file.write(record, head.weight.cpu().numpy(), head.bias.cpu().numpy())

    async def onnx(self, task_id: str, owner: str) -> bytes:
        """phi and the head as one graph; see `model.serving.onnx_graph`."""
        record, head = await self._record_and_head(task_id, owner)
        leo = self._models.for_task(record).leo
        described = {"task_id": task_id, "model": record.model, "model_version": record.model_version}
        weight, bias = head.weight.cpu().numpy(), head.bias.cpu().numpy()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, to_onnx, leo, weight, bias, record.labels, described, mean_shots(record)
        )

    async def _chosen(self, name: str | None, images: Sequence[bytes]) -> Engine:
        """The model asked for; where nobody asked and there are several kinds, by what the pictures look like."""
        if name is not None or not self._models.take_drawings_and_photos:
            return self._models.by_name(name)
        drawn = await decoding.mostly_drawings(images, self._pool)
        return self._models.for_kind(drawings=drawn)

    async def _decoded(self, images: Sequence[bytes], engine: Engine) -> Images:
        """Raises `Problem`: what is wrong with an image, or 503 where others' images fill the room there is."""
        size = sum(map(len, images))
        if self._decoding_bytes and self._decoding_bytes + size > self._settings.queue_bytes:
            raise overloaded(f"{self._decoding_bytes} bytes of images wait to be decoded already; try again shortly")
        self._decoding_bytes += size
        try:
            with metrics.stage("decode"):
                return await decoding.decode(images, engine.read, self._settings, self._pool)
        finally:
            self._decoding_bytes -= size

    async def _record_and_head(self, task_id: str, owner: str) -> tuple[TaskRecord, Head]:
        record = await self._usable(task_id, owner)
        cached = self._cache.get(task_id, owner)
        current = cached and cached.record.revision == record.revision
        return record, cached.head if cached and cached.head and current else await self._decode(record)

    async def _decode(self, record: TaskRecord) -> Head:
        return cast(Head, await self._batcher.submit(Decode(record.codes, record.model_version)))

    async def _find_current(self, task_id: str, owner: str, version: int) -> CachedTask | None:
        """The task from the cache, unless another worker or replica has changed or deleted it."""
        cached = self._cache.get(task_id, owner)
        if cached is None:
            return None
        if not self._store.shared:
            return cached if cached.version == version else None
        try:
            async with asyncio.timeout(STORE_GLANCE):
                stored = await self._store.get(task_id, owner)
        except (TimeoutError, StoreUnavailable):
            return cached  # without their store, warm tasks keep predicting
        if stored is None:
            self._cache.drop(task_id)
            raise no_such_task()
        return cached if stored.revision == cached.record.revision else None

    async def _usable(self, task_id: str, owner: str) -> TaskRecord:
        """A stored task that a loaded model can decode. Raises `Problem` 404, or 409 naming both versions."""
        record = await self.get(task_id, owner)
        self._models.for_task(record)
        return record


@dataclass(frozen=True)
class Adaptation:
    """What adapting to a support set gives: what a record holds of it, the head, and what may be kept."""

    shots: dict[str, int]
    codes: NDArray[np.float32]
    head: Head
    support: SupportFeatures
    adaptation: dict[str, Any]
    quality: dict[str, Any]


def mean_shots(record: TaskRecord) -> float:
    """Examples that a task's classes have on average."""
    return sum(record.shots.values()) / len(record.shots)


@contextlib.contextmanager
def _store_refusals(max_tasks: int | None) -> Iterator[None]:
    """What the store refuses on purpose, as the caller is told."""
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
