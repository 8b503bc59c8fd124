"""How a task is changed: on its caller's terms, once, and whole or not at all. Its name, time to live, and end."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.inference.engine import Engine
from app.observability import metrics
from app.problems import Problem, no_such_task
from app.store import TaskRecord
from app.tasks.adaptation import adapt
from app.tasks.base import MOST_TRIES, TaskBase, contended, store_refusals
from app.tasks.changes import ANY_TERMS, NOTHING_JUDGED, Change, Edit, Judged, Terms
from app.tasks.examples import Examples, pack
from app.tasks.idempotency import record_of_call
from app.tasks.limits import check_lifetime, check_shots
from app.tasks.options import UpdateTask


class Changing(TaskBase):
    """What all changes of a task have in common, and those that leave its examples as they are."""

    async def update(self, task_id: str, changes: UpdateTask, owner: str, terms: Terms = ANY_TERMS) -> TaskRecord:
        """Change a task's name or time to live. Raises `Problem`."""
        changes = check_lifetime(changes, self._settings)
        given = changes.model_dump(exclude_unset=True)

        def updated(record: TaskRecord) -> TaskRecord:
            changed = replace(record, name=given.get("name", record.name))
            if "ttl_seconds" in given:
                seconds = given["ttl_seconds"]
                changed = replace(changed, expires_at=None if seconds is None else time.time() + seconds)
            return changed

        as_json = changes.model_dump_json(exclude_unset=True)
        change = await self._new_change(terms, "update", task_id, as_json)
        return await self._change_record(task_id, owner, change, updated)

    async def delete(self, task_id: str, owner: str, *, revisions: AbstractSet[int] | None = None) -> None:
        """Delete a task, of one of these revisions if any are given. Raises `Problem` 404 or 412."""
        revision = None
        if revisions is not None:
            record = await self.get(task_id, owner)
            check_revision(record, revisions)
            revision = record.revision
        if not await self._store.delete(task_id, owner, revision):
            if revision is not None:
                check_revision(await self.get(task_id, owner), revisions)  # 404 or 412: it was changed in between
            raise no_such_task()
        self._shared_state.bump_version(task_id)
        self._cache.delete(task_id)
        metrics.tasks_deleted.inc()

    async def _new_change(self, terms: Terms, call: str, *content: str | bytes) -> Change:
        """A change on these terms; the content is all that decides what it does."""
        if terms.idempotency_key is None:
            return Change(terms.revisions, None)
        once = await self._in_thread(record_of_call, terms.idempotency_key, call, *content)
        return Change(terms.revisions, once)

    async def _change_record(
        self, task_id: str, owner: str, change: Change, edit: Callable[[TaskRecord], TaskRecord]
    ) -> TaskRecord:
        """Change what a record holds beside its codes and examples."""
        async with self._turn(task_id):
            return await self._try_record(task_id, owner, change, edit)

    async def _try_record(
        self, task_id: str, owner: str, change: Change, edit: Callable[[TaskRecord], TaskRecord]
    ) -> TaskRecord:
        for _ in range(MOST_TRIES):
            if first := await self._first_answer(owner, change.once):
                return first
            version = self._shared_state.version(task_id)
            record = await self.get(task_id, owner)
            check_revision(record, change.revisions)
            changed = edit(record)
            with store_refusals():
                is_changed = await self._store.update(changed, idempotency=change.once)
            if is_changed:
                cached = self._cache.get(task_id, owner)
                is_current = cached is not None and cached.record.answers_as(record)
                return self._cache_changed(changed, cached.head if cached and is_current else None, version)
        raise contended()

    async def _change_examples(
        self,
        task_id: str,
        owner: str,
        change: Change,
        edit: Callable[[TaskRecord, Examples, Engine], Awaitable[Edit | None]],
        judged: Judged = NOTHING_JUDGED,
    ) -> TaskRecord:
        """Adapt a task again to what `edit` makes of its examples; where it makes nothing, return the task.

        `edit` is called again if another caller changes the task meanwhile.
        """
        async with self._turn(task_id):
            return await self._try_examples(task_id, owner, change, edit, judged)

    async def _try_examples(
        self,
        task_id: str,
        owner: str,
        change: Change,
        edit: Callable[[TaskRecord, Examples, Engine], Awaitable[Edit | None]],
        judged: Judged,
    ) -> TaskRecord:
        for _ in range(MOST_TRIES):
            if first := await self._first_answer(owner, change.once):
                return first
            version = self._shared_state.version(task_id)
            record, examples = await self._with_examples(task_id, owner)
            check_revision(record, change.revisions)
            engine = self._models.for_task(record)
            edited = await edit(record, examples, engine)
            if edited is None and change.once is None:
                return record
            if edited is None:  # the call is remembered, or a repetition might undo what others change until then
                return await self._try_record(task_id, owner, change, lambda same: same)
            self._check_labels([*edited.kept_labels, *edited.labels])
            shots, kept = edited.kept.with_labels(edited.kept_labels, record.labels)
            adaptation = await adapt(
                self._batcher,
                engine,
                edited.images,
                edited.labels,
                earlier_shots=shots,
                earlier=kept,
                pool=self._pool,
            )
            changed = replace(
                judged.counted(record),
                shots=adaptation.shots,
                codes=adaptation.codes,
                adaptation=adaptation.report,
                quality=adaptation.quality,
                cohesion=adaptation.cohesion,
                own_score=adaptation.own_score,
            )
            changed = with_negatives(changed, edited.negatives)
            pictures = None
            if record.keep_images:
                added = dict(enumerate(edited.copies, start=kept.next_number))
                pictures = self._picture_changes(added, edited.removed)
            with store_refusals():
                is_changed = await self._store.update(
                    changed, support=pack(adaptation.examples), idempotency=change.once, pictures=pictures
                )
            if is_changed:
                return self._cache_changed(changed, adaptation.head, version)
        raise contended()

    def _check_labels(self, labels: Sequence[str]) -> None:
        """Check the labels that a task's examples shall have. Raises `Problem` 422."""
        check_shots(Counter(labels), self._settings)


def with_negatives(record: TaskRecord, codes: NDArray[np.float32] | None) -> TaskRecord:
    """The record with codes [M,L] of more negatives; with none, as it is."""
    if codes is None:
        return record
    numbers = record.negative_numbers
    if numbers is not None:
        numbers = [*numbers, *range(numbers[-1] + 1, numbers[-1] + 1 + len(codes))]
    every = codes if record.negatives is None else np.concatenate([record.negatives, codes])
    return replace(record, negatives=every, negative_numbers=numbers)


def check_revision(record: TaskRecord, revisions: AbstractSet[int] | None) -> None:
    if revisions is not None and record.revision not in revisions:
        raise Problem(
            412,
            f"the task has changed: its revision is {record.revision}, and If-Match names another; read it again, and "
            "decide anew",
        )
