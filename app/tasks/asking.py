"""What is asked of a task: predictions for pictures, and how right it is on labelled ones."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from app.inference.work import Predict, Predicted
from app.observability import metrics
from app.problems import Problem, no_such_task
from app.store import TaskRecord
from app.store.errors import StoreUnavailable
from app.tasks.base import TaskBase, mean_shots, shift_of
from app.tasks.cache import CachedTask
from app.tasks.limits import check_answer, spell_labels
from model.evaluation.labelled_answers import AnswerReport, report_on_answers

STORE_LOOK_SECONDS = 0.05  # that looking at the store may hold up the prediction of a cached task


class Evaluated(NamedTuple):
    """How right a task is on labelled images."""

    record: TaskRecord
    labels: list[str]  # the task's classes, then other labels
    numbers: NDArray[np.int64]  # [Q]: each image's label
    report: AnswerReport


class Asking(TaskBase):
    """Predictions, by the cache where it can be, also while the store is away."""

    async def predict(
        self, task_id: str, images: Sequence[bytes], owner: str, *, top_k: int = 1
    ) -> tuple[TaskRecord, Predicted]:
        """Classify images: each one's probabilities, of which `top_k` are wanted, and `known`. Raises `Problem`."""
        version = self._shared_state.version(task_id)
        cached = await self._find_cached(task_id, owner, version)
        metrics.lookups_by_result["miss" if not cached else "hit" if cached.head else "codes"].inc()
        record = cached.record if cached else await self._get_usable(task_id, owner)
        check_answer(len(images), min(top_k, len(record.shots)))
        engine = self._models.for_task(record)
        decoded = await self._decoder.decode(images, engine.read)
        head = cached.head if cached else None
        decode = engine.keeps_heads and head is None and self._cache.is_worth_a_head(task_id)
        codes, version_of_model = record.all_codes, record.model_version
        own = mean_shots(record), decode, record.negative_count, shift_of(record, engine)
        work = Predict(decoded, head, codes, version_of_model, *own)
        with metrics.Stage("device"):
            predicted = cast(Predicted, await self._batcher.submit(work))
        for probability in _highest(predicted.probabilities):
            metrics.confidence.observe(probability)
        if not cached or decode:
            self._cache.put(record, predicted.head, version)
        return record, predicted

    async def evaluate(self, task_id: str, images: Sequence[bytes], labels: Sequence[str], owner: str) -> Evaluated:
        """Ask a task about labelled images, and report how right it is. Raises `Problem`; nothing is stored."""
        with contextlib.suppress(StoreUnavailable):  # cached tasks answer without the store
            self._numbered(labels, await self.get(task_id, owner))  # before any work is done
        record, predicted = await self.predict(task_id, images, owner)
        every, numbers = self._numbered(labels, record)
        report = await self._in_thread(report_on_answers, predicted.probabilities, numbers)
        return Evaluated(record, every, numbers, report)

    def _numbered(self, labels: Sequence[str], record: TaskRecord) -> tuple[list[str], NDArray[np.int64]]:
        """All labels, those of the task first, and the number of each one given. Raises `Problem`."""
        spelled = spell_labels(labels, self._settings, known=record.shots)
        every = list(dict.fromkeys((*record.shots, *spelled)))
        number = {label: index for index, label in enumerate(every)}
        numbers = np.array([number[label] for label in spelled])
        if (numbers >= len(record.shots)).all():
            raise Problem(422, "no label that was sent is a class of the task: send labels of its examples")
        return every, numbers

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
        if stored.answers_as(cached.record):
            return cached
        self._cache.forget(task_id)
        return None


def _highest(probabilities: NDArray[np.float32]) -> list[float]:
    """The highest probability of each row [Q,N]."""
    if len(probabilities) == 1:  # numpy takes four times as long for a row
        return [max(probabilities[0].tolist())]
    highest: list[float] = probabilities.max(axis=1).tolist()
    return highest
