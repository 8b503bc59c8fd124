"""The embedded task store: an SQLite file in WAL mode; each process has one connection, used by a thread of its own."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from app.store import (
    IDEMPOTENCY_SECONDS,
    IdempotencyConflict,
    IdempotencyRecord,
    StoreUnavailable,
    TaskRecord,
    TooManyTasks,
    parse_cursor,
)
from app.store.record import pack, unpack

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation, for paging
    task_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires_at REAL,
    record BLOB NOT NULL       -- app.store.record
);
CREATE INDEX tasks_by_owner ON tasks (owner, number);
CREATE INDEX tasks_by_expiry ON tasks (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE support (
    number INTEGER PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    payload BLOB NOT NULL
);
CREATE TABLE once (  -- Idempotency-Keys
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    number INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    record BLOB NOT NULL,      -- as first answered
    expires_at REAL NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX once_by_task ON once (number);
CREATE INDEX once_by_expiry ON once (expires_at);
"""
PAGE_SIZE = 16384  # bytes; records take up to 2 KB, and small pages would leave more space unused
DELETE_EXPIRED_EVERY = 60.0  # seconds
ALIVE = "(expires_at IS NULL OR expires_at > ?)"

Returned = TypeVar("Returned")


class SQLiteStore:
    """A `TaskStore` in a file. When a write returns it is on disk, not only in the operating system's cache.

    Each call is one function that the store's thread runs in one transaction, so calls run one after another. Several
    workers of one service may open the file; they announce changes to each other through `app.shared_state`.
    """

    shared = False

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection, self._thread = connection, thread
        self._delete_expired_at = 0.0  # by the monotonic clock; at first with the first write

    @classmethod
    async def open(cls, path: Path) -> "SQLiteStore":
        """Open or create the file. Raises `StoreUnavailable` naming it and the reason."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread)

    async def _read(self, call: Callable[[], Returned]) -> Returned:
        return await self._run(call, "BEGIN")  # a read does not wait for writes of other processes

    async def _run(self, call: Callable[[], Returned], begin: str = "BEGIN IMMEDIATE") -> Returned:
        def transaction() -> Returned:
            try:
                with self._connection:
                    self._connection.execute(begin)
                    return call()
            except sqlite3.Error as error:
                raise StoreUnavailable(f"the task store failed: {error}") from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)
        except RuntimeError as error:  # raised by the executor after its shutdown
            raise StoreUnavailable(f"the task store is closed: {error}") from error

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        def call() -> TaskRecord:
            self._delete_expired()
            first = self._find_by_key(record.owner, idempotency) if idempotency else None
            if first:
                return first
            execute, now, packed = self._connection.execute, time.time(), pack(record)
            if max_tasks is not None:
                (live,) = execute(
                    f"SELECT count(*) FROM tasks WHERE owner = ? AND {ALIVE}", (record.owner, now)
                ).fetchone()
                if live >= max_tasks:
                    raise TooManyTasks
            number = execute(
                "INSERT INTO tasks (task_id, owner, revision, expires_at, record) VALUES (?, ?, ?, ?, ?)",
                (record.task_id, record.owner, record.revision, record.expires_at, packed),
            ).lastrowid
            if support is not None:
                execute("INSERT INTO support VALUES (?, ?)", (number, support))
            if idempotency:
                execute(
                    "INSERT INTO once VALUES (?, ?, ?, ?, ?, ?)",
                    (record.owner, idempotency.key, idempotency.digest, number, packed, now + IDEMPOTENCY_SECONDS),
                )
            return record

        return await self._run(call)

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        return await self._run(lambda: self._find_by_key(owner, idempotency))

    def _find_by_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        now = time.time()
        row = self._connection.execute(
            "SELECT once.digest, once.record FROM once JOIN tasks USING (number) WHERE once.owner = ? AND key = ? "
            "AND once.expires_at > ? AND (tasks.expires_at IS NULL OR tasks.expires_at > ?)",
            (owner, idempotency.key, now, now),
        ).fetchone()
        if row is None:  # unknown or expired; an expired one would block a new row with this key
            self._connection.execute("DELETE FROM once WHERE owner = ? AND key = ?", (owner, idempotency.key))
            return None
        if row["digest"] != idempotency.digest:
            raise IdempotencyConflict
        return unpack(row["record"])

    def _delete_expired(self) -> None:
        """Free the space of expired rows, which reads ignore already."""
        now = time.monotonic()
        if now >= self._delete_expired_at:
            self._delete_expired_at = now + DELETE_EXPIRED_EVERY
            self._connection.execute("DELETE FROM tasks WHERE expires_at <= ?", (time.time(),))
            self._connection.execute("DELETE FROM once WHERE expires_at <= ?", (time.time(),))

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        def call() -> TaskRecord | None:
            row = self._connection.execute(
                f"SELECT record FROM tasks WHERE task_id = ? AND owner = ? AND {ALIVE}", (task_id, owner, time.time())
            ).fetchone()
            return unpack(row["record"]) if row else None

        return await self._read(call)

    async def support(self, task_id: str, owner: str) -> bytes | None:
        def call() -> bytes | None:
            row = self._connection.execute(
                f"SELECT payload FROM support JOIN tasks USING (number) WHERE task_id = ? AND owner = ? AND {ALIVE}",
                (task_id, owner, time.time()),
            ).fetchone()
            return row["payload"] if row else None

        return await self._read(call)

    async def update(self, record: TaskRecord, *, support: bytes | None = None) -> bool:
        def call() -> bool:
            execute, next_revision = self._connection.execute, record.revision + 1
            row = execute(
                f"UPDATE tasks SET revision = ?, expires_at = ?, record = ? "
                f"WHERE task_id = ? AND owner = ? AND revision = ? AND {ALIVE} RETURNING number",
                (
                    next_revision,
                    record.expires_at,
                    pack(replace(record, revision=next_revision)),
                    record.task_id,
                    record.owner,
                    record.revision,
                    time.time(),
                ),
            ).fetchone()
            if row and support is not None:
                execute("INSERT OR REPLACE INTO support VALUES (?, ?)", (row["number"], support))
            return row is not None

        return await self._run(call)

    async def delete(self, task_id: str, owner: str) -> bool:
        def call() -> bool:
            deleted = self._connection.execute(
                f"DELETE FROM tasks WHERE task_id = ? AND owner = ? AND {ALIVE}", (task_id, owner, time.time())
            )
            return deleted.rowcount > 0

        return await self._run(call)

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        before = parse_cursor(cursor)

        def call() -> tuple[list[TaskRecord], str | None]:
            rows = self._connection.execute(
                f"SELECT number, record FROM tasks WHERE owner = ? AND number < ? AND {ALIVE} "
                "ORDER BY number DESC LIMIT ?",
                (owner, before, time.time(), limit + 1),
            ).fetchall()
            following = str(rows[limit - 1]["number"]) if len(rows) > limit else None
            return [unpack(row["record"]) for row in rows[:limit]], following

        return await self._read(call)

    async def count(self, owner: str) -> int:
        def call() -> int:
            row = self._connection.execute(
                f"SELECT count(*) FROM tasks WHERE owner = ? AND {ALIVE}", (owner, time.time())
            ).fetchone()
            return int(row[0])

        return await self._read(call)

    async def close(self) -> None:
        self._thread.shutdown()  # waits for the calls made before
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open or create the file and bring it to the current schema. Raises `StoreUnavailable`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One thread at a time uses it, but another thread may close it when the interpreter exits.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"cannot open the task store {path}: {error}") from error
    try:
        connection.row_factory = sqlite3.Row
        for pragma in (
            f"page_size={PAGE_SIZE}",  # has an effect on a new file only
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=500",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _migrate(connection)
    except (sqlite3.Error, StoreUnavailable) as error:
        connection.close()
        raise StoreUnavailable(f"cannot use the task store {path}: {error}") from error
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Create the tables, or convert those of version 1. Raises `StoreUnavailable` for an unknown version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, 1, SCHEMA_VERSION):
        raise StoreUnavailable(
            f"its schema is version {version}, this program's is {SCHEMA_VERSION}: run the program that made it"
        )
    if version == SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        old = connection.execute("SELECT * FROM tasks ORDER BY number").fetchall() if version == 1 else []
        if version == 1:
            connection.execute("DROP TABLE tasks")
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, 0, ?, ?)",
            [
                (row["number"], row["task_id"], row["owner"], row["expires_at"], pack(_record_from_version_1(row)))
                for row in old
            ],
        )
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _record_from_version_1(row: sqlite3.Row) -> TaskRecord:
    columns = dict(row)
    del columns["number"]
    shots = json.loads(row["shots"])
    codes = np.frombuffer(row["codes"], dtype="<f4").reshape(len(shots), -1)
    return TaskRecord(**columns | {"shots": shots, "codes": codes, "adaptation": json.loads(row["adaptation"])})
