import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.cache import Head, Warm, WarmTasks
from app.store import StoreUnavailable, TaskRecord
from app.store.sqlite import SQLiteStore


def record(task_id: str, **changes: Any) -> TaskRecord:
    made = TaskRecord(
        task_id=task_id,
        owner="me",
        name=None,
        model="omniglot",
        model_version="abc",
        shots={"zeta": 2, "альфа": 1},
        codes=np.arange(8, dtype=np.float32).reshape(2, 4),
        created_at=time.time(),
        expires_at=None,
        adaptation={"losses": [0.5, 0.1], "support_accuracy": 1.0, "milliseconds": 3.0},
    )
    return replace(made, **changes)


def with_store(path: Path, scenario: Callable[[SQLiteStore], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        store = await SQLiteStore.open(path)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(whole())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "tasks.sqlite3"


def test_a_record_comes_back_whole_also_after_a_restart(path: Path) -> None:
    made = record("a", name="naïve", expires_at=time.time() + 1000)

    async def check(store: SQLiteStore) -> None:
        found = await store.get("a", "me")
        assert found is not None
        assert list(found.shots.items()) == list(made.shots.items())  # in the order of the codes
        np.testing.assert_array_equal(found.codes, made.codes)
        assert replace(found, codes=made.codes) == made

    async def add(store: SQLiteStore) -> None:
        await store.add(made)
        await check(store)

    with_store(path, add)
    with_store(path, check)


def test_owners_see_only_their_own(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        await store.add(record("a", owner="one"))
        await store.add(record("b", owner="two"))
        assert await store.get("a", "two") is None
        assert not await store.delete("a", "two")
        records, _ = await store.page("one", 10, None)
        assert [found.task_id for found in records] == ["a"]
        assert await store.delete("a", "one")
        assert not await store.delete("a", "one")

    with_store(path, scenario)


def test_expired_tasks_are_gone(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        await store.add(record("old", expires_at=time.time() - 1))
        assert await store.get("old", "me") is None
        assert not await store.delete("old", "me")
        assert (await store.page("me", 10, None))[0] == []

    async def restarted(store: SQLiteStore) -> None:
        await store.add(record("new"))

    with_store(path, scenario)
    with_store(path, restarted)
    with sqlite3.connect(path) as connection:  # and the next write swept it out
        assert connection.execute("SELECT task_id FROM tasks").fetchall() == [("new",)]
    connection.close()


def test_pages_stay_put_while_tasks_are_added(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        for n in range(5):
            await store.add(record(f"t{n}"))
        first, cursor = await store.page("me", 2, None)
        await store.add(record("later"))
        second, cursor = await store.page("me", 2, cursor)
        third, end = await store.page("me", 2, cursor)
        assert [found.task_id for found in [*first, *second, *third]] == ["t4", "t3", "t2", "t1", "t0"]
        assert end is None
        for nonsense in ("x", "-1", "9" * 30, "1; DROP TABLE tasks", "²"):
            with pytest.raises(ValueError, match="cursor"):
                await store.page("me", 2, nonsense)

    with_store(path, scenario)


def test_writes_are_durable_by_setting(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        async def pragma(name: str) -> object:
            async with store._connection.execute(f"PRAGMA {name}") as cursor:
                row = await cursor.fetchone()
            assert row is not None
            return row[0]

        assert await pragma("journal_mode") == "wal"
        assert await pragma("synchronous") == 2  # FULL: past the operating system's cache

    with_store(path, scenario)


def test_a_store_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.sqlite3"
    rubbish.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreUnavailable, match=r"rubbish\.sqlite3.*not a database"):
        asyncio.run(SQLiteStore.open(rubbish))
    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreUnavailable, match="version 99"):
        asyncio.run(SQLiteStore.open(newer))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot open"):
        asyncio.run(SQLiteStore.open(tmp_path / "file" / "tasks.sqlite3"))


def test_failures_while_running_are_of_one_kind(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.get("a", "me")
        with pytest.raises(StoreUnavailable):
            await store.add(record("a"))

    asyncio.run(scenario())


def test_a_five_way_task_is_small(path: Path) -> None:
    shots = {f"label {n}": 1 for n in range(5)}
    codes = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)

    async def scenario(store: SQLiteStore) -> None:
        for n in range(500):
            await store.add(record(f"task {n}", shots=shots, codes=codes))

    with_store(path, scenario)
    assert path.stat().st_size / 500 < 2200  # bytes, indexes and empty page ends included


def warm(task_id: str, floats: int = 100, **changes: Any) -> Warm:
    head = Head(torch.zeros(2, floats), torch.zeros(2))
    return Warm(record(task_id, **changes), head)


def test_the_cache_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    size = warm("x").size
    cache = WarmTasks(3 * size)
    for n in range(5):
        cache.put(warm(f"t{n}"))
    assert len(cache) == 3
    assert cache.size <= 3 * size
    assert cache.get("t1", "me") is None
    assert cache.get("t2", "me") is not None
    cache.put(warm("t5"))  # t2 was just used, so t3 goes
    assert cache.get("t3", "me") is None
    assert cache.get("t2", "me") is not None
    cache.put(warm("huge", floats=10_000))
    assert cache.get("huge", "me") is None
    cache.drop("t2")
    assert cache.get("t2", "me") is None


def test_the_cache_knows_owners_and_expiry() -> None:
    cache = WarmTasks(10**6)
    cache.put(warm("mine"))
    cache.put(warm("old", expires_at=time.time() - 1))
    assert cache.get("mine", "me") is not None
    assert cache.get("mine", "you") is None
    assert cache.get("old", "me") is None
    assert len(cache) == 1
