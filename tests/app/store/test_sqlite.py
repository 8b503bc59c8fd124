"""What the SQLite store promises beside the contract: durable files, swept, and taken over from older versions."""

import asyncio
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.store import IdempotencyRecord, PictureChanges
from app.store.errors import StoreUnavailable
from app.store.sqlite import SQLiteStore
from tests.helpers.records import assert_same, five_way_record, ids, record


def with_sqlite(path: Path, scenario: Callable[[SQLiteStore], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with a store newly opened on the file."""

    async def whole() -> None:
        store = await SQLiteStore.open(path)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(whole())


def test_expired_tasks_are_removed_from_the_file(path: Path) -> None:
    async def expire(store: SQLiteStore) -> None:
        await store.add(
            record("old", expires_at=time.time() - 1), support=b"x", idempotency=IdempotencyRecord("key", b"digest")
        )

    async def restarted(store: SQLiteStore) -> None:
        await store.add(record("new"))

    with_sqlite(path, expire)
    with_sqlite(path, restarted)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT task_id FROM tasks").fetchall() == [("new",)]
        for table in ("support", "once"):
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # noqa: S608
    connection.close()


def test_many_expired_pictures_are_removed_a_little_at_a_time(path: Path) -> None:
    """Or whoever writes next would wait until all are gone, and the log would need as much room as they had."""
    pictures = PictureChanges({n: bytes(2**20) for n in range(2)}, 2**30)

    async def expire(store: SQLiteStore) -> None:
        for n in range(40):
            await store.add(record(f"old{n}", expires_at=time.time() + 30.0), pictures=pictures)

    async def later(store: SQLiteStore) -> None:
        left = []
        for n in range(16):
            await store.add(record(f"new{n}"))
            with sqlite3.connect(path) as connection:
                left += connection.execute("SELECT count(*) FROM tasks WHERE expires_at IS NOT NULL").fetchone()
            connection.close()
        assert left[0] == 37
        assert left[-1] == 0
        assert path.with_name(f"{path.name}-wal").stat().st_size < 2**23

    with_sqlite(path, expire)
    with pytest.MonkeyPatch.context() as patch:
        now = time.time
        patch.setattr(time, "time", lambda: now() + 60.0)
        with_sqlite(path, later)


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
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
    with pytest.raises(StoreUnavailable, match="cannot use the task store"):
        asyncio.run(SQLiteStore.open(tmp_path / "file" / "tasks.sqlite3"))


def test_a_file_of_the_first_schema_is_migrated(path: Path) -> None:
    path.parent.mkdir()
    made = [record(f"t{n}", created_at=1.5, expires_at=time.time() + 1000 if n else None) for n in range(3)]
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE tasks (number INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL UNIQUE, owner TEXT, "
            "name TEXT, model TEXT, model_version TEXT, shots TEXT, codes BLOB, created_at REAL, expires_at REAL, "
            "adaptation TEXT); CREATE INDEX tasks_by_owner ON tasks (owner, number); "
            "CREATE INDEX tasks_by_expiry ON tasks (expires_at) WHERE expires_at IS NOT NULL; PRAGMA user_version=1;"
        )
        rows = [
            (
                *(r.task_id, r.owner, r.name, r.model, r.model_version, json.dumps(r.shots), r.codes.tobytes()),
                *(r.created_at, r.expires_at, json.dumps(r.adaptation)),
            )
            for r in made
        ]
        connection.executemany(f"INSERT INTO tasks VALUES (NULL{', ?' * 10})", rows)  # noqa: S608
    connection.close()

    async def scenario(store: SQLiteStore) -> None:
        for one in made:
            assert_same(await store.get(one.task_id, "me"), one)
        await store.add(record("later"))
        assert await ids(store) == ["later", "t2", "t1", "t0"]

    with_sqlite(path, scenario)


def test_calls_of_a_closed_store_fail_as_unavailable(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.get("a", "me")
        with pytest.raises(StoreUnavailable):
            await store.add(record("a"))

    asyncio.run(scenario())


def test_a_five_way_task_is_small_on_disk(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        for _ in range(300):
            await store.add(five_way_record(secrets.token_hex(12)))

    sizes = []
    for _ in range(2):
        with_sqlite(path, scenario)
        sizes.append(path.stat().st_size)
    assert (sizes[1] - sizes[0]) / 300 < 2048  # bytes, indexes and page ends included
