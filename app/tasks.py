"""What creating, reading and predicting mean, whatever the transport."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from app import uploads
from app.batcher import Batcher
from app.cache import Head, Warm, WarmTasks
from app.engine import Adapt, Decode, Engine, Predict, Predicted
from app.idempotency import once_for
from app.problems import Problem, no_such_task
from app.schemas import TaskOptions
from app.settings import Settings
from app.store import OtherBody, StoreUnavailable, TaskRecord, TaskStore, TooManyTasks
from model.adapt import AdaptedTask

STORE_GLANCE = 0.05  # seconds that a look at the store may keep a warm task's prediction waiting


class Tasks:
    """Tasks of one model: decode, adapt or predict through the batcher, keep in the store, cache heads."""

    def __init__(self, settings: Settings, engine: Engine, batcher: Batcher, store: TaskStore) -> None:
        self._settings, self._engine, self._batcher, self._store = settings, engine, batcher, store
        self._warm = WarmTasks(settings.cache_bytes)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="decode")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

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
        once = once_for(idempotency_key, images, labels, options) if idempotency_key is not None else None
        if once:
            with _store_refusals(max_tasks):
                first = await self._store.made(owner, once)
            if first:
                return first
        name = self._engine.info.name
        if options.model not in (None, name):
            raise Problem(422, f"no model called {options.model!r} is loaded; there is {name!r}")
        shots = dict.fromkeys(labels, 0)  # classes in the order they first appear
        for label in labels:
            shots[label] += 1
        numbers = {label: number for number, label in enumerate(shots)}
        inputs = await uploads.decode(images, self._engine.resolution, self._settings, self._pool)
        began = time.perf_counter()
        work = Adapt(inputs, np.array([numbers[label] for label in labels]))
        adapted = cast(AdaptedTask, await self._batcher.submit(work))
        took = time.perf_counter() - began
        if not adapted.is_finite:
            raise Problem(422, "adaptation turned non-finite on this support set; nothing was stored")
        now = time.time()
        record = TaskRecord(
            task_id=secrets.token_hex(12),
            owner=owner,
            name=options.name,
            model=name,
            model_version=self._engine.info.version,
            shots=shots,
            codes=adapted.codes.cpu().numpy(),
            created_at=now,
            expires_at=None if options.ttl_seconds is None else now + options.ttl_seconds,
            adaptation={
                "losses": [round(loss, 6) for loss in adapted.losses],
                "support_accuracy": adapted.support_accuracy,
                "milliseconds": round(1000 * took, 3),
            },
        )
        with _store_refusals(max_tasks):
            stored = await self._store.add(record, once=once, max_tasks=max_tasks)
        if stored.task_id == record.task_id:  # else the same request came twice at once, and the other one was first
            self._warm.put(Warm(record, Head(adapted.weight, adapted.bias)))
        return stored

    async def get(self, task_id: str, owner: str) -> TaskRecord:
        record = await self._store.get(task_id, owner)
        if record is None:
            raise no_such_task()
        return record

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        try:
            return await self._store.page(owner, limit, cursor)
        except ValueError:
            raise Problem(422, "the cursor is not one that this service gave out") from None

    async def delete(self, task_id: str, owner: str) -> None:
        if not await self._store.delete(task_id, owner):
            raise no_such_task()
        self._warm.drop(task_id)

    async def predict(
        self, task_id: str, images: Sequence[bytes], owner: str
    ) -> tuple[TaskRecord, NDArray[np.float32]]:
        """Probabilities [Q,N] of each image under the task's classes. Raises `Problem`."""
        warm = await self._warm_and_current(task_id, owner)
        record = warm.record if warm else await self._usable(task_id, owner)
        inputs = await uploads.decode(images, self._engine.resolution, self._settings, self._pool)
        work = Predict(inputs, warm.head if warm else None, record.codes)
        predicted = cast(Predicted, await self._batcher.submit(work))
        if not warm:
            self._warm.put(Warm(record, predicted.head))
        return record, predicted.probabilities

    async def parameters(self, task_id: str, owner: str) -> bytes:
        """The decoded head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N]."""
        warm = await self._warm_and_current(task_id, owner)
        record = warm.record if warm else await self._usable(task_id, owner)
        head = warm.head if warm else cast(Head, await self._batcher.submit(Decode(record.codes)))
        tensors = {"fc.weight": head.weight.cpu().numpy(), "fc.bias": head.bias.cpu().numpy()}
        described = {"task_id": task_id, "model": record.model, "model_version": record.model_version}
        return save_tensors(tensors, metadata=described | {"labels": json.dumps(record.labels)})

    async def _warm_and_current(self, task_id: str, owner: str) -> Warm | None:
        """The task from the cache, unless another replica has changed or deleted it."""
        warm = self._warm.get(task_id, owner)
        if warm is None or not self._store.shared:
            return warm
        try:
            async with asyncio.timeout(STORE_GLANCE):
                stored = await self._store.get(task_id, owner)
        except (TimeoutError, StoreUnavailable):
            return warm  # without their store, warm tasks keep predicting
        if stored is None:
            self._warm.drop(task_id)
            raise no_such_task()
        return warm if stored.revision == warm.record.revision else None

    async def _usable(self, task_id: str, owner: str) -> TaskRecord:
        """A stored task that the loaded model can decode. Raises `Problem` 404, or 409 naming both versions."""
        record, serving = await self.get(task_id, owner), self._engine.info
        if (record.model, record.model_version) != (serving.name, serving.version):
            raise Problem(
                409,
                f"the task was made with {record.model} {record.model_version}, this service runs "
                f"{serving.name} {serving.version}: its codes mean nothing there. Create the task again",
            )
        return record


@contextlib.contextmanager
def _store_refusals(max_tasks: int | None) -> Iterator[None]:
    """What the store refuses on purpose, as the caller is told."""
    try:
        yield
    except OtherBody:
        raise Problem(
            422, "this Idempotency-Key was used for another support set or other options; take a new key"
        ) from None
    except TooManyTasks:
        raise Problem(
            429,
            f"this key may have {max_tasks} tasks and has them; delete some or let them expire",
            retry_after=60,
        ) from None
