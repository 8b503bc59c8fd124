"""Changes tasks: adds examples, renames, prolongs, deletes. A change is stored whole or not at all."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from app.inference.support_features import pack
from app.inference.work import Images
from app.observability import metrics
from app.problems import Problem, no_such_task
from app.store import TaskRecord
from app.tasks.adaptation import adapt
from app.tasks.base import MOST_TRIES, TaskBase, contended, unpack_support
from app.tasks.limits import check_lifetime, check_shots, spell_labels
from app.tasks.options import UpdateTask


class Changing(TaskBase):
    """The ways in which a task changes, and its end."""

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
                earlier=unpack_support(payload, task_id),
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
        raise contended()

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
        raise contended()

    async def delete(self, task_id: str, owner: str) -> None:
        """Raises `Problem` 404."""
        if not await self._store.delete(task_id, owner):
            raise no_such_task()
        self._shared_state.bump_version(task_id)
        self._cache.delete(task_id)
        metrics.tasks_deleted.inc()
