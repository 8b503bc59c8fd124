"""Changes the examples of a task: adds, removes and relabels them, and takes those of judged answers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.inference.engine import Engine
from app.inference.work import Images
from app.problems import Problem
from app.store import TaskRecord
from app.tasks.adaptation import encode_negatives, in_pool_if_large
from app.tasks.changes import ANY_TERMS, NOTHING_JUDGED, Change, Edit, Judged, Judgement, Terms
from app.tasks.changing import Changing, check_revision, with_negatives
from app.tasks.examples import Examples, no_such_example
from app.tasks.limits import check_negatives, spell_labels
from app.tasks.quality_report import ExampleReport, of_examples


class ChangingExamples(Changing):
    """What can be done with the examples of a task. `Changing` has the task adapted to them again, and stored."""

    async def add_support(
        self,
        task_id: str,
        images: Sequence[bytes],
        labels: Sequence[str],
        owner: str,
        terms: Terms = ANY_TERMS,
        *,
        negatives: Sequence[bytes] = (),
    ) -> TaskRecord:
        """Adapt a task again, to its earlier examples and these. Raises `Problem`; the task is then as it was.

        `negatives` are images of what is none of the classes; problems number them after the others. Without
        images they can be added to any task, also to one whose examples were not kept.
        """
        spelled = spell_labels(labels, self._settings)
        check_negatives(len(images), len(negatives), self._settings)
        change = await self._new_change(terms, "add", task_id, *images, *spelled, *negatives)
        if not images:
            return await self._add_negatives(task_id, negatives, owner, change)
        return await self._add_examples(task_id, images, labels, owner, change, negatives=negatives)

    async def _add_negatives(self, task_id: str, negatives: Sequence[bytes], owner: str, change: Change) -> TaskRecord:
        """Add negatives to a task, whose classes stay as they are."""
        if first := await self._first_answer(owner, change.once):
            return first
        record = await self._get_usable(task_id, owner)
        check_revision(record, change.revisions)
        self._check_room(record, sum(record.shots.values()), len(negatives))
        engine = self._models.for_task(record)
        _, decoded = await self._decode(engine, [], negatives)
        codes = await encode_negatives(self._batcher, engine, decoded)

        def added(record: TaskRecord) -> TaskRecord:
            self._check_room(record, sum(record.shots.values()), len(negatives))
            return with_negatives(record, codes)

        return await self._change_record(task_id, owner, change, added)

    def _check_room(self, record: TaskRecord, examples: int, negatives: int) -> None:
        """Check that a task may have so many examples in all, and so many negatives more. Raises `Problem` 422."""
        check_negatives(examples, record.negative_count + negatives, self._settings)

    async def _add_examples(
        self,
        task_id: str,
        images: Sequence[bytes],
        labels: Sequence[str],
        owner: str,
        change: Change,
        judged: Judged = NOTHING_JUDGED,
        negatives: Sequence[bytes] = (),
    ) -> TaskRecord:
        """Add examples to a task, and count answers that were judged with them."""
        decoded: Images | None = None
        copies: list[bytes] = []
        codes: NDArray[np.float32] | None = None  # of the negatives

        async def added(record: TaskRecord, examples: Examples, engine: Engine) -> Edit:
            nonlocal decoded, copies, codes
            classes = spell_labels(labels, self._settings, known=record.shots)
            earlier = examples.labels(record.labels)
            self._check_labels([*earlier, *classes])
            self._check_room(record, len(earlier) + len(classes), len(negatives))
            if decoded is None:
                decoded, of_negatives = await self._decode(engine, images, negatives)
                copies = await self._decoder.small_copies(images) if record.keep_images else []
                codes = await encode_negatives(self._batcher, engine, of_negatives)
            return Edit(examples, earlier, decoded, classes, copies, negatives=codes)

        return await self._change_examples(task_id, owner, change, added, judged)

    async def remove_negative(self, task_id: str, number: int, owner: str, terms: Terms = ANY_TERMS) -> TaskRecord:
        """Remove one of the examples of none of a task's classes; the others keep their numbers. Raises `Problem`."""

        def removed(record: TaskRecord) -> TaskRecord:
            numbers = record.numbers_of_negatives
            if record.negatives is None or number not in numbers[:-1]:
                raise Problem(404, "the task has no such negative: GET /tasks/{id}/negatives lists those that it has")
            place = numbers.index(number)
            del numbers[place]
            left = np.delete(record.negatives, place, axis=0)
            return replace(record, negatives=left if len(left) else None, negative_numbers=numbers)

        change = await self._new_change(terms, "remove negative", task_id, str(number))
        return await self._change_record(task_id, owner, change, removed)

    async def remove_example(self, task_id: str, number: int, owner: str, terms: Terms = ANY_TERMS) -> TaskRecord:
        """Adapt a task again, without one of its examples. Raises `Problem`; the task is then as it was."""

        async def removed(record: TaskRecord, examples: Examples, engine: Engine) -> Edit:
            place = examples.place_of(number)
            labels = examples.labels(record.labels)
            del labels[place]
            return Edit(examples.without(place), labels, _no_images(engine), [], removed=number)

        change = await self._new_change(terms, "remove", task_id, str(number))
        return await self._change_examples(task_id, owner, change, removed)

    async def relabel_example(
        self, task_id: str, number: int, label: str, owner: str, terms: Terms = ANY_TERMS
    ) -> TaskRecord:
        """Adapt a task again, with another label for one of its examples. Raises `Problem`; it is then as it was."""

        (new,) = spell_labels([label], self._settings)

        async def relabelled(record: TaskRecord, examples: Examples, engine: Engine) -> Edit | None:
            place = examples.place_of(number)
            labels = examples.labels(record.labels)
            (spelled,) = spell_labels([new], self._settings, known=record.shots)
            if labels[place] == spelled:
                return None
            labels[place] = spelled
            return Edit(examples, labels, _no_images(engine), [])

        change = await self._new_change(terms, "relabel", task_id, str(number), new)
        return await self._change_examples(task_id, owner, change, relabelled)

    async def judge(
        self, task_id: str, judgements: Sequence[Judgement], owner: str, terms: Terms = ANY_TERMS
    ) -> TaskRecord:
        """Count which answers were right, and add the pictures that came along as examples. Raises `Problem`."""
        spelled = spell_labels([text for each in judgements for text in (each.predicted, each.label)], self._settings)
        labels = spelled[1::2]
        right = sum(answer == label for answer, label in zip(spelled[::2], labels, strict=True))
        judged = Judged(len(judgements), right)
        pictured = [
            (each.image, label) for each, label in zip(judgements, labels, strict=True) if each.image is not None
        ]
        sent = [part for each in judgements for part in (each.predicted, each.label, each.image or b"")]
        change = await self._new_change(terms, "judge", task_id, *sent)
        if not pictured:
            return await self._change_record(task_id, owner, change, judged.counted)
        images, of_images = [image for image, _ in pictured], [label for _, label in pictured]
        return await self._add_examples(task_id, images, of_images, owner, change, judged)

    async def examples(self, task_id: str, owner: str) -> tuple[TaskRecord, list[ExampleReport]]:
        """A task and a report on each of its examples, in their order. Raises `Problem` 404 or 409."""
        record, examples = await self._with_examples(task_id, owner)
        return record, await in_pool_if_large(of_examples, examples, self._pool)

    async def picture(self, task_id: str, number: int, owner: str) -> bytes:
        """The picture of an example. Raises `Problem` 404 if there is no such example, or no picture of it."""
        record, examples = await self._with_examples(task_id, owner)
        examples.place_of(number)
        if not record.keep_images:
            raise Problem(404, "this task keeps no pictures: they are kept if it is made with keep_images=true")
        found = await self._store.pictures(task_id, owner, number)
        if number not in found:
            raise no_such_example()
        return found[number]


def _no_images(engine: Engine) -> Images:
    return np.empty((0, *engine.shape), dtype=np.uint8)
