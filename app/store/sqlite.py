"""The embedded task store: an SQLite file in WAL mode; each process has a thread that writes and one that reads."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from app.store import (
    IDEMPOTENCY_SECONDS,
    MOST_CALLS,
    IdempotencyRecord,
    PictureChanges,
    StoredPage,
    TaskRecord,
    parse_cursor,
)
from app.store.errors import IdempotencyConflict, StoreUnavailable, TooManyPictures, TooManyTasks
from app.store.group_commit import GroupCommit, unavailable
from app.store.record import pack, unpack, unpack_page
from app.store.sqlite_file import Files, open_files

# At once, of what has expired: others' writes wait for it. Freeing 4 MiB takes some milliseconds.
EXPIRED_TASKS, EXPIRED_BYTES, EXPIRED_KEYS = 20, 2**22, 100
ALIVE = "(expires_at IS NULL OR expires_at > ?)"

Returned = TypeVar("Returned")


class SQLiteStore:
    """A `TaskStore` in a file. When a write returns it is on disk, not only in the operating system's cache.

    Several workers of one service may open the file; they announce changes to each other through `app.shared_state`.
    """

    shared = False

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection, files: Files, path: Path) -> None:
        """Raises `OSError`."""
        self._writer, self._reader, self._files, self._path = writer, reader, files, path
        self._commits = GroupCommit(writer, files, path, _delete_expired)
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="store-reads")

    @classmethod
    async def open(
        cls, path: Path, opened: MutableSequence[int] | None = None, *, is_open_elsewhere: bool = False
    ) -> "SQLiteStore":
        """Open or create the file. Workers of one service share `opened`, so that all use the same files.

        Raises `StoreUnavailable` naming the file and the reason.
        """
        writer, reader, files = await asyncio.to_thread(
            open_files, path, [0] * 6 if opened is None else opened, is_open_elsewhere=is_open_elsewhere
        )
        try:
            return cls(writer, reader, files, path)
        except OSError as error:
            raise StoreUnavailable(f"cannot use the task store {path}: {error}") from error

    async def _read(self, call: Callable[[sqlite3.Connection], Returned]) -> Returned:
        """Run a function that reads. It does not wait for writes, and sees those that are committed."""

        def reading() -> Returned:
            try:
                return call(self._reader)
            except sqlite3.Error as error:
                raise unavailable(error, self._path) from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._reads, reading)
        except RuntimeError as error:  # raised by the executor after its shutdown
            raise StoreUnavailable(f"the task store is closed: {error}") from error

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
        pictures: PictureChanges | None = None,
    ) -> TaskRecord:
        def call() -> TaskRecord:
            execute, now, packed = self._writer.execute, time.time(), pack(record)
            if idempotency:
                first = _find_by_key(self._writer, record.owner, idempotency)
                if first:
                    return first
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
            if pictures is not None and number is not None:
                _change_pictures(self._writer, number, record.owner, pictures)
            if idempotency and number is not None:
                _remember(self._writer, number, record.owner, idempotency, packed)
            return record

        return await self._commits.submit(call)

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        first = await self._read(lambda connection: _find_by_key(connection, owner, idempotency))
        if first:
            await self._commits.submit(lambda: None)  # it may be committed, but not on disk yet
        return first

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        def call(connection: sqlite3.Connection) -> TaskRecord | None:
            row = connection.execute(
                f"SELECT record FROM tasks WHERE task_id = ? AND owner = ? AND {ALIVE}", (task_id, owner, time.time())
            ).fetchone()
            return unpack(row["record"], task_id) if row else None

        return await self._read(call)

    async def with_support(self, task_id: str, owner: str) -> tuple[TaskRecord, bytes | None] | None:
        def call(connection: sqlite3.Connection) -> tuple[TaskRecord, bytes | None] | None:
            row = connection.execute(
                "SELECT record, payload FROM tasks LEFT JOIN support USING (number) "
                f"WHERE task_id = ? AND owner = ? AND {ALIVE}",
                (task_id, owner, time.time()),
            ).fetchone()
            return (unpack(row["record"], task_id), row["payload"]) if row else None

        return await self._read(call)

    async def pictures(self, task_id: str, owner: str, number: int | None = None) -> dict[int, bytes]:
        def call(connection: sqlite3.Connection) -> dict[int, bytes]:
            rows = connection.execute(
                "SELECT example, picture FROM pictures JOIN tasks USING (number) "
                f"WHERE task_id = ? AND owner = ? AND {ALIVE} AND (? IS NULL OR example = ?) ORDER BY example",
                (task_id, owner, time.time(), number, number),
            )
            return {row["example"]: row["picture"] for row in rows}

        return await self._read(call)

    async def update(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        pictures: PictureChanges | None = None,
    ) -> bool:
        def call() -> bool:
            execute, next_revision = self._writer.execute, record.revision + 1
            if idempotency and _find_by_key(self._writer, record.owner, idempotency):
                return False
            packed = pack(replace(record, revision=next_revision))
            row = execute(
                f"UPDATE tasks SET revision = ?, expires_at = ?, record = ? "
                f"WHERE task_id = ? AND owner = ? AND revision = ? AND {ALIVE} RETURNING number",
                (
                    next_revision,
                    record.expires_at,
                    packed,
                    record.task_id,
                    record.owner,
                    record.revision,
                    time.time(),
                ),
            ).fetchone()
            if row and support is not None:
                execute("INSERT OR REPLACE INTO support VALUES (?, ?)", (row["number"], support))
            if row and pictures is not None:
                _change_pictures(self._writer, row["number"], record.owner, pictures)
            if row and idempotency:
                _remember(self._writer, row["number"], record.owner, idempotency)
                _forget_old_calls(self._writer, row["number"])
            return row is not None

        return await self._commits.submit(call)

    async def delete(self, task_id: str, owner: str, revision: int | None = None) -> bool:
        def call() -> bool:
            deleted = self._writer.execute(
                f"DELETE FROM tasks WHERE task_id = ? AND owner = ? AND revision = coalesce(?, revision) AND {ALIVE}",
                (task_id, owner, revision, time.time()),
            )
            return deleted.rowcount > 0

        return await self._commits.submit(call, makes_room=True)

    async def page(self, owner: str, limit: int, cursor: str | None) -> StoredPage:
        before = parse_cursor(cursor)

        def call(connection: sqlite3.Connection) -> StoredPage:
            rows = connection.execute(
                f"SELECT number, task_id, record FROM tasks WHERE owner = ? AND number < ? AND {ALIVE} "
                "ORDER BY number DESC LIMIT ?",
                (owner, before, time.time(), limit + 1),
            ).fetchall()
            following = str(rows[limit - 1]["number"]) if len(rows) > limit else None
            return unpack_page([(row["task_id"], row["record"]) for row in rows[:limit]], following)

        return await self._read(call)

    async def count(self, owner: str) -> int:
        def call(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                f"SELECT count(*) FROM tasks WHERE owner = ? AND {ALIVE}", (owner, time.time())
            ).fetchone()
            return int(row[0])

        return await self._read(call)

    def reason_lost(self) -> str | None:
        return self._files.reason_lost()

    async def close(self) -> None:
        await asyncio.to_thread(self._commits.close)
        self._reads.shutdown()  # waits for the calls made before
        self._reader.close()
        self._writer.close()
        self._files.close()


def _delete_expired(connection: sqlite3.Connection) -> bool:
    """Free the space of some expired rows, which reads ignore already. Whether there may be more of them."""
    now, freed, tasks = time.time(), 0, 0
    expired = connection.execute(
        "SELECT number, bytes FROM tasks LEFT JOIN picture_bytes USING (number) "
        "WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
        (now, EXPIRED_TASKS),
    ).fetchall()
    for row in expired:
        if freed > EXPIRED_BYTES:
            break
        connection.execute("DELETE FROM tasks WHERE number = ?", (row["number"],))
        freed, tasks = freed + (row["bytes"] or 0), tasks + 1
    keys = connection.execute(
        "DELETE FROM once WHERE rowid IN (SELECT rowid FROM once WHERE expires_at <= ? LIMIT ?)", (now, EXPIRED_KEYS)
    ).rowcount
    return tasks == EXPIRED_TASKS or tasks < len(expired) or keys == EXPIRED_KEYS


def _change_pictures(connection: sqlite3.Connection, number: int, owner: str, changes: PictureChanges) -> None:
    """Store and remove pictures of the task with this number. Raises `TooManyPictures`."""
    if changes.removed is not None:
        connection.execute("DELETE FROM pictures WHERE number = ? AND example = ?", (number, changes.removed))
    connection.executemany(
        "INSERT INTO pictures VALUES (?, ?, ?)",
        [(number, example, picture) for example, picture in changes.added.items()],
    )
    connection.execute(
        "INSERT OR REPLACE INTO picture_bytes "
        "SELECT ?, coalesce(sum(length(picture)), 0) FROM pictures WHERE number = ?",
        (number, number),
    )
    (size,) = connection.execute(
        f"SELECT sum(bytes) FROM picture_bytes JOIN tasks USING (number) WHERE owner = ? AND {ALIVE}",
        (owner, time.time()),
    ).fetchone()
    if changes.added and size > changes.max_bytes:
        raise TooManyPictures


def _remember(
    connection: sqlite3.Connection, number: int, owner: str, idempotency: IdempotencyRecord, first_answer: bytes = b""
) -> None:
    """Remember an Idempotency-Key of a call on the task with this number: of its creation with the record it stored."""
    connection.execute(  # in place of one that has expired
        "INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?, ?, ?)",
        (owner, idempotency.key, idempotency.digest, number, first_answer, time.time() + IDEMPOTENCY_SECONDS),
    )


def _forget_old_calls(connection: sqlite3.Connection, number: int) -> None:
    """Forget the Idempotency-Keys of the task with this number but for its creation's and the latest `MOST_CALLS`."""
    connection.execute(
        "DELETE FROM once WHERE number = ? AND length(record) = 0 AND rowid <= "
        "(SELECT rowid FROM once WHERE number = ? ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
        (number, number, MOST_CALLS),
    )


def _find_by_key(connection: sqlite3.Connection, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
    """Return the first answer to a call with an Idempotency-Key, or None if there was no such call.

    Raises `IdempotencyConflict` if the request was different.
    """
    now = time.time()
    row = connection.execute(
        "SELECT once.digest, once.record AS first_answer, tasks.record, tasks.task_id FROM once "
        "JOIN tasks USING (number) WHERE once.owner = ? AND key = ? AND once.expires_at > ? "
        "AND (tasks.expires_at IS NULL OR tasks.expires_at > ?)",
        (owner, idempotency.key, now, now),
    ).fetchone()
    if row is None:
        return None
    if row["digest"] != idempotency.digest:
        raise IdempotencyConflict
    return unpack(row["first_answer"] or row["record"], row["task_id"])
