"""Makes tasks from labelled examples, or finds the one that the same request made before."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.inference.engine import Engine
from app.inference.work import Head
from app.observability import metrics
from app.problems import Problem
from app.store import IdempotencyRecord, PictureChanges, TaskRecord
from app.tasks.adaptation import adapt, encode_negatives
from app.tasks.base import TaskBase, store_refusals
from app.tasks.examples import pack
from app.tasks.idempotency import record_of_creation
from app.tasks.limits import check_lifetime, check_negatives, check_shots, spell_labels
from app.tasks.options import TaskLifetime, TaskOptions


class Creating(TaskBase):
    """How a task comes to be."""

    async def create(
        self,
        images: Sequence[bytes],
        labels: Sequence[str],
        options: TaskOptions,
        owner: str,
        *,
        negatives: Sequence[bytes] = (),
        idempotency_key: str | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        """Adapt to a support set and store the task, unless the same idempotency key has made it before.

        `negatives` are images of what is none of the classes; problems number them after the others.
        Raises `Problem`; nothing is stored then.
        """
        options, labels = check_lifetime(options, self._settings), spell_labels(labels, self._settings)
        check_shots(Counter(labels), self._settings)
        check_negatives(len(images), len(negatives), self._settings)
        idempotency = None
        if idempotency_key is not None:
            idempotency = await self._in_thread(record_of_creation, idempotency_key, images, labels, options, negatives)
            if first := await self._first_answer(owner, idempotency):
                return first
        return await self._create(images, labels, options, owner, idempotency, max_tasks, negatives)

    async def _create(
        self,
        images: Sequence[bytes],
        labels: Sequence[str],
        options: TaskOptions,
        owner: str,
        idempotency: IdempotencyRecord | None,
        max_tasks: int | None,
        negatives: Sequence[bytes] = (),
    ) -> TaskRecord:
        """Adapt to a support set that was checked, and store the task."""
        engine = await self._choose_model(options.model, images)
        if options.keep_images and not options.keep_support:
            raise Problem(422, "keep_images needs keep_support: pictures are kept beside the examples' features")
        decoded, of_negatives = await self._decode(engine, images, negatives)
        copies = await self._decoder.small_copies(images) if options.keep_images else []
        version = engine.info.version
        adaptation, codes_of_negatives = await asyncio.gather(
            adapt(self._batcher, engine, decoded, labels, earlier_shots={}, earlier=None, pool=self._pool),
            encode_negatives(self._batcher, engine, of_negatives),
        )
        record = new_record(
            owner,
            options,
            model=engine.info.name,
            model_version=version,
            shots=adaptation.shots,
            codes=adaptation.codes,
            adaptation=adaptation.report,
            quality=adaptation.quality,
            cohesion=adaptation.cohesion,
            own_score=adaptation.own_score,
            keep_images=options.keep_images,
            negatives=codes_of_negatives,
        )
        payload = pack(adaptation.examples) if options.keep_support else None
        pictures = self._picture_changes(dict(enumerate(copies))) if options.keep_images else None
        return await self._add(record, adaptation.head, payload, idempotency, max_tasks, pictures)

    async def _add(
        self,
        record: TaskRecord,
        head: Head | None,
        support: bytes | None,
        idempotency: IdempotencyRecord | None,
        max_tasks: int | None,
        pictures: PictureChanges | None = None,
    ) -> TaskRecord:
        """Store a new task and cache it; where the same request was sent twice at once, return the other's task."""
        version = self._shared_state.version(record.task_id)
        with store_refusals(max_tasks), metrics.Stage("store"):
            stored = await self._store.add(
                record, support=support, idempotency=idempotency, max_tasks=max_tasks, pictures=pictures
            )
        metrics.tasks_created.labels(record.model).inc()
        if stored.task_id == record.task_id:
            self._cache.put(record, head, version)
        return stored

    async def _choose_model(self, name: str | None, images: Sequence[bytes]) -> Engine:
        """The model asked for; without a name, and with models of both kinds, the one that fits the pictures."""
        if name is not None or not self._models.take_drawings_and_photos:
            return self._models.by_name(name)
        return self._models.for_kind(drawings=await self._decoder.mostly_drawings(images))


def new_record(owner: str, options: TaskLifetime, **adapted: Any) -> TaskRecord:
    """A new task with these fields of its adaptation, which begins now."""
    now = time.time()
    return TaskRecord(
        task_id=secrets.token_hex(12),
        owner=owner,
        name=options.name,
        created_at=now,
        expires_at=None if options.ttl_seconds is None else now + options.ttl_seconds,
        **adapted,
    )
