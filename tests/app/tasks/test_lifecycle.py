"""What may go wrong between a task's creation and its answers, in a service without its HTTP."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from app.inference.batcher import Batcher
from app.inference.engine import Engine
from app.inference.models import Models
from app.observability import metrics
from app.problems import Problem
from app.settings import Settings
from app.store import StoredPage, TaskRecord
from app.store.errors import StoreUnavailable
from app.store.redis import RedisStore
from app.store.sqlite import SQLiteStore
from app.tasks.options import TaskOptions, UpdateTask
from app.tasks.service import Tasks
from tests.helpers.drawn import CHARACTERS, canvas, encoded, png
from tests.helpers.redis_server import started

NAMES = ["tee", "ring", "ex"]


class Pieces:
    """The parts of a service: engine, batcher, store and tasks."""

    def __init__(self, settings: Settings, engine: Engine, batcher: Batcher, store: SQLiteStore) -> None:
        self.settings, self.engine, self.batcher, self.store = settings, engine, batcher, store
        self.tasks = self.restarted()

    def restarted(self) -> Tasks:
        """Return tasks of the same store and model with a cold cache, as after a restart."""
        return Tasks(self.settings, Models([self.engine]), self.batcher, self.store)

    async def create(self) -> str:
        record = await self.tasks.create([png(name) for name in NAMES], NAMES, TaskOptions(), "me")
        return record.task_id

    async def answer(self, tasks: Tasks, task_id: str) -> str:
        record, predicted = await tasks.predict(task_id, [png("ring", 9)], "me")
        return record.labels[int(predicted.probabilities[0].argmax())]


def run(tmp_path: Path, settings: Settings, scenario: Callable[[Pieces], Coroutine[Any, Any, None]]) -> None:
    engine = Engine(settings.weights, "cpu")
    batcher = Batcher(engine.run, max_images=1000, timeout=30)
    batcher.start()

    async def whole() -> None:
        store = await SQLiteStore.open(tmp_path / "tasks.sqlite3")
        pieces = Pieces(settings, engine, batcher, store)
        try:
            await scenario(pieces)
        finally:
            pieces.tasks.close()
            await store.close()

    try:
        asyncio.run(whole())
    finally:
        batcher.close()


def test_a_task_whose_adaptation_is_not_finite_is_refused_and_not_stored(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        pieces.engine.leo.alpha.data.fill_(float("inf"))
        with pytest.raises(Problem, match="non-finite") as error:
            await pieces.create()
        assert error.value.status == 422
        assert await pieces.store.page("me", 10, None) == StoredPage([], {}, None)

    run(tmp_path, settings, scenario)


def test_a_cold_task_is_decoded_again_to_the_same_answer(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        images = [png("ring", 9)]
        _, warm = await pieces.tasks.predict(task_id, images, "me")
        cold_tasks = pieces.restarted()
        _, cold = await cold_tasks.predict(task_id, images, "me")
        assert abs(warm.probabilities - cold.probabilities).max() < 1e-5
        decoded, cached = [load(await tasks.parameters(task_id, "me")) for tasks in (pieces.restarted(), cold_tasks)]
        for key, value in decoded.items():
            np.testing.assert_array_equal(value, cached[key])
        cold_tasks.close()

    run(tmp_path, settings, scenario)


def test_another_owners_task_is_not_found(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        for call in (
            pieces.tasks.get(task_id, "you"),
            pieces.tasks.predict(task_id, [png("ex")], "you"),
            pieces.tasks.parameters(task_id, "you"),
            pieces.tasks.delete(task_id, "you"),
        ):
            with pytest.raises(Problem) as error:
                await call
            assert error.value.status == 404
        assert await pieces.answer(pieces.tasks, task_id) == "ring"

    run(tmp_path, settings, scenario)


def test_a_task_of_other_weights_answers_409_naming_both(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        record = await pieces.store.get(task_id, "me")
        assert record is not None
        assert await pieces.store.update(replace(record, model_version="older"))
        tasks = pieces.restarted()
        with pytest.raises(Problem, match=rf"omniglot older.*omniglot {pieces.engine.info.version}") as error:
            await tasks.predict(task_id, [png("ex")], "me")
        assert error.value.status == 409
        tasks.close()

    run(tmp_path, settings, scenario)


def test_without_its_store_warm_tasks_keep_predicting(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        await pieces.store.close()
        assert await pieces.answer(pieces.tasks, task_id) == "ring"
        cold = pieces.restarted()
        with pytest.raises(StoreUnavailable):
            await pieces.answer(cold, task_id)
        with pytest.raises(StoreUnavailable):
            await pieces.create()
        cold.close()

    run(tmp_path, settings, scenario)


def test_a_change_at_one_replica_counts_at_the_others(tmp_path: Path, settings: Settings) -> None:
    redis = started(tmp_path)

    async def scenario(pieces: Pieces) -> None:
        stores = [await RedisStore.open(redis.url) for _ in range(2)]
        here, there = (Tasks(settings, Models([pieces.engine]), pieces.batcher, store) for store in stores)
        pieces.tasks.close()
        pieces.tasks = here
        changed, deleted = await pieces.create(), await pieces.create()
        for task_id in (changed, deleted):
            assert await pieces.answer(there, task_id) == "ring"  # warm at both
        record = await stores[0].get(changed, "me")
        assert record is not None
        others = {f"another {label}": shots for label, shots in record.shots.items()}
        assert await stores[0].update(replace(record, shots=others))
        await here.delete(deleted, "me")
        assert await pieces.answer(there, changed) == "another ring"
        with pytest.raises(Problem, match="no such task"):
            await pieces.answer(there, deleted)
        redis.send(signal.SIGSTOP)
        assert await pieces.answer(there, changed) == "another ring"  # warm, and the store does not answer
        redis.send(signal.SIGCONT)
        there.close()
        for store in stores:
            await store.close()

    try:
        run(tmp_path, settings, scenario)
    finally:
        redis.kill()


def test_a_task_deleted_during_a_prediction_stays_deleted(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        tasks = pieces.restarted()
        under_way = asyncio.create_task(pieces.answer(tasks, task_id))
        while not under_way.done():
            try:
                await tasks.delete(task_id, "me")
            except Problem:
                await asyncio.sleep(0)
        with pytest.raises(Problem):
            await pieces.answer(tasks, task_id)
        await asyncio.gather(under_way, return_exceptions=True)
        tasks.close()

    run(tmp_path, settings, scenario)


def test_a_task_whose_head_does_not_fit_the_cache_answers_from_its_codes(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        small = pieces.settings.model_copy(update={"cache_bytes": 4000})  # a task, but not its head
        tasks = Tasks(small, Models([pieces.engine]), pieces.batcher, pieces.store)
        task_id = await pieces.create()
        assert await pieces.answer(tasks, task_id) == "ring"
        await pieces.store.close()  # the task is warm: no store is asked for it
        assert await pieces.answer(tasks, task_id) == "ring"

    run(tmp_path, settings, scenario)


def test_bytes_that_wait_to_be_decoded_are_bounded(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        little = pieces.settings.model_copy(update={"queue_bytes": 1})
        tasks = Tasks(little, Models([pieces.engine]), pieces.batcher, pieces.store)
        task_id = await pieces.create()
        large = encoded(
            canvas(CHARACTERS["ring"], side=1200, pen=40)
        )  # goes to the pool, so that others come meanwhile
        first = asyncio.create_task(tasks.predict(task_id, [large], "me"))
        while not tasks._decoder._waiting_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(Problem, match="wait to be decoded") as refused:
            await tasks.predict(task_id, [large], "me")
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        await first  # alone it may be as large as it likes

    run(tmp_path, settings, scenario)


def test_a_task_that_was_just_changed_is_still_cached(tmp_path: Path, settings: Settings) -> None:
    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        hits = metrics.lookups_by_result["hit"]
        for change in (
            pieces.tasks.add_support(task_id, [png("tee", 3)], ["tee"], "me"),
            pieces.tasks.update(task_id, UpdateTask(name="another"), "me"),
        ):
            await change
            before = hits._value.get()
            assert await pieces.answer(pieces.tasks, task_id) == "ring"
            assert hits._value.get() == before + 1

    run(tmp_path, settings, scenario)


def test_a_change_that_another_worker_overtook_is_not_cached(tmp_path: Path, settings: Settings) -> None:
    """Both stored their changes. The worker that stored first caches last, and must not cache its older record."""

    async def scenario(pieces: Pieces) -> None:
        task_id = await pieces.create()
        shared_state = pieces.tasks._shared_state
        update = pieces.store.update

        async def update_then_be_overtaken(record: TaskRecord, **options: Any) -> bool:
            stored = await update(record, **options)
            await update(replace(record, name="theirs", revision=record.revision + 1))
            shared_state.bump_version(task_id)
            return stored

        pieces.store.update = update_then_be_overtaken  # type: ignore[method-assign]
        await pieces.tasks.update(task_id, UpdateTask(name="ours"), "me")
        record, _ = await pieces.tasks.predict(task_id, [png("ring", 9)], "me")
        assert record.name == "theirs"

    run(tmp_path, settings, scenario)
