"""The embedded task store: one SQLite file in WAL mode, one connection with a thread of its own."""

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import numpy as np

from app.store import StoreUnavailable, TaskRecord

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation, for paging
    task_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT,
    model TEXT NOT NULL,
    model_version TEXT NOT NULL,
    shots TEXT NOT NULL,       -- JSON object, label -> count, in the order of the codes
    codes BLOB NOT NULL,       -- float32 little-endian, [N, L]
    created_at REAL NOT NULL,
    expires_at REAL,
    adaptation TEXT NOT NULL   -- JSON object
);
CREATE INDEX tasks_by_owner ON tasks (owner, number);
CREATE INDEX tasks_by_expiry ON tasks (expires_at) WHERE expires_at IS NOT NULL;
"""
COLUMNS = "task_id, owner, name, model, model_version, shots, codes, created_at, expires_at, adaptation"
SWEEP_EVERY = 60.0  # seconds
ALIVE = "(expires_at IS NULL OR expires_at > ?)"


class SQLiteStore:
    """`TaskStore` in a file. Every write is on disk, past the operating system's cache, when it returns."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._next_sweep = 0.0  # by the monotonic clock: at the first write

    @classmethod
    async def open(cls, path: Path) -> "SQLiteStore":
        """Open or create the file. Raises `StoreUnavailable` naming it and the reason."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = await aiosqlite.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"cannot open the task store {path}: {error}") from error
        try:
            connection.row_factory = sqlite3.Row
            await connection.execute("PRAGMA journal_mode=WAL")
            await connection.execute("PRAGMA synchronous=FULL")
            await connection.execute("PRAGMA busy_timeout=2000")
            await cls._migrate(connection)
        except (sqlite3.Error, StoreUnavailable) as error:
            await connection.close()
            raise StoreUnavailable(f"cannot use the task store {path}: {error}") from error
        return cls(connection)

    @staticmethod
    async def _migrate(connection: aiosqlite.Connection) -> None:
        async with connection.execute("PRAGMA user_version") as cursor:
            row = await cursor.fetchone()
        version = int(row[0]) if row else 0
        if version == 0:
            await connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StoreUnavailable(f"its schema is version {version}, this program's is {SCHEMA_VERSION}")

    async def add(self, record: TaskRecord) -> None:
        values = (
            record.task_id,
            record.owner,
            record.name,
            record.model,
            record.model_version,
            json.dumps(record.shots, ensure_ascii=False),
            record.codes.astype("<f4").tobytes(),
            record.created_at,
            record.expires_at,
            json.dumps(record.adaptation),
        )
        async with self._guard():
            now = time.monotonic()
            if now >= self._next_sweep:  # readers never see expired tasks; this only frees their room
                self._next_sweep = now + SWEEP_EVERY
                await self._connection.execute("DELETE FROM tasks WHERE expires_at <= ?", (time.time(),))
            await self._connection.execute(
                f"INSERT INTO tasks ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values
            )

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        async with (
            self._guard(),
            self._connection.execute(
                f"SELECT {COLUMNS} FROM tasks WHERE task_id = ? AND owner = ? AND {ALIVE}",
                (task_id, owner, time.time()),
            ) as cursor,
        ):
            row = await cursor.fetchone()
        return _record(row) if row else None

    async def delete(self, task_id: str, owner: str) -> bool:
        async with (
            self._guard(),
            self._connection.execute(
                f"DELETE FROM tasks WHERE task_id = ? AND owner = ? AND {ALIVE}", (task_id, owner, time.time())
            ) as cursor,
        ):
            return cursor.rowcount > 0

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
            raise ValueError("not a cursor of this service")
        before = 2**62 if cursor is None else int(cursor)
        async with (
            self._guard(),
            self._connection.execute(
                f"SELECT {COLUMNS}, number FROM tasks WHERE owner = ? AND number < ? AND {ALIVE} "
                "ORDER BY number DESC LIMIT ?",
                (owner, before, time.time(), limit + 1),
            ) as found,
        ):
            rows = list(await found.fetchall())
        more = len(rows) > limit
        return [_record(row) for row in rows[:limit]], str(rows[limit - 1]["number"]) if more else None

    async def close(self) -> None:
        await self._connection.close()

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:  # aiosqlite: ValueError once the connection is closed
            raise StoreUnavailable(f"the task store failed: {error}") from error


def _record(row: sqlite3.Row) -> TaskRecord:
    shots: dict[str, int] = json.loads(row["shots"])
    codes = np.frombuffer(row["codes"], dtype="<f4").reshape(len(shots), -1)
    return TaskRecord(
        task_id=row["task_id"],
        owner=row["owner"],
        name=row["name"],
        model=row["model"],
        model_version=row["model_version"],
        shots=shots,
        codes=codes.astype(np.float32),  # frombuffer's array is read-only
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        adaptation=json.loads(row["adaptation"]),
    )
