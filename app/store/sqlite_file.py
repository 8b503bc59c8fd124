"""The SQLite file of the embedded task store: how it is opened, what is in it, and whether it is still in its place."""

import contextlib
import json
import os
import sqlite3
from collections.abc import MutableSequence
from pathlib import Path

import numpy as np

from app.store import TaskRecord
from app.store.errors import StoreLost, StoreUnavailable
from app.store.record import pack

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
    record BLOB NOT NULL,      -- as first answered; empty if the call changed a task
    expires_at REAL NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX once_by_task ON once (number);
CREATE INDEX once_by_expiry ON once (expires_at);
"""
# Tables that older programs of the same schema do not know, and need not: deleting a task deletes their rows.
LATER_TABLES = """
CREATE TABLE IF NOT EXISTS pictures (
    number INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    example INTEGER NOT NULL,
    picture BLOB NOT NULL,
    PRIMARY KEY (number, example)
);
CREATE TABLE IF NOT EXISTS picture_bytes (  -- of each task that has pictures
    number INTEGER PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    bytes INTEGER NOT NULL
);
"""
PAGE_SIZE = 16384  # bytes; records take up to 2 KB, and small pages would leave more space unused
BUSY_MILLISECONDS = 500  # that a write waits for another program which has locked the file

UNTIL_THEN = "until then tasks can be read and asked, but not created or changed"
FileId = tuple[int, int]  # device and inode


class Files:
    """The database, its write-ahead log and the log's index, which must stay where they were opened.

    SQLite goes on writing to files that were deleted or replaced, so whatever it writes is gone at the next start.
    """

    def __init__(self, path: Path) -> None:
        """Remember the files as they are now. Raises `OSError`."""
        every = _files_of(path)
        self._opened = {each: _identity(os.stat(each)) for each in every}
        self.identities = [number for identity in self._opened.values() for number in identity]
        # SQLite puts no locks on its log, unlike on the other two: closing a file ends all locks that a process has on
        # it, so those must not be opened here.
        self._log = every[1].open("rb", buffering=0)

    def sync(self) -> None:
        """Wait until everything in the log is on disk. Raises `OSError`."""
        os.fdatasync(self._log.fileno())

    def reason_lost(self) -> str | None:
        """What has become of the files, and how to fix it, or None."""
        return next((reason for each in self._opened.items() if (reason := reason_moved(*each))), None)

    def close(self) -> None:
        self._log.close()


def reason_moved(path: Path, identity: FileId) -> str | None:
    """Why a file is no longer the one with this identity, and how to fix it, or None."""
    try:
        found = _identity(os.stat(path))
    except OSError as error:
        return (
            f"{path} is gone ({error.strerror}): it was deleted or moved while the service runs. Put it back, or "
            f"restart the service to begin with what is there; {UNTIL_THEN}"
        )
    if found == identity:
        return None
    return (
        f"{path} is another file than the one that the service opened: it was replaced while the service runs. Put "
        "the old one back; or, to use the new one, stop the service, delete what the old one has left beside it "
        f"(-wal and -shm), and restart the service; {UNTIL_THEN}"
    )


def _files_of(path: Path) -> tuple[Path, Path, Path]:
    """The database, its log and the log's index."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _identity(status: os.stat_result) -> FileId:
    return status.st_dev, status.st_ino


def open_files(
    path: Path, opened: MutableSequence[int], *, is_open_elsewhere: bool
) -> tuple[sqlite3.Connection, sqlite3.Connection, Files]:
    """Open or create the database: a connection to write, one to read, and its files.

    `opened` holds the identities of the three files that another worker of this service has opened before, or zeros,
    which are then replaced. Raises `StoreUnavailable` naming the file and the reason.
    """
    try:
        # Only the database outlives the last connection. While another worker has one, the log and its index must be
        # the same too: SQLite would make new ones, and two workers with different ones overwrite each other's tasks.
        expected = zip(_files_of(path), zip(opened[::2], opened[1::2], strict=True), strict=True)
        for each, identity in list(expected)[: 3 if is_open_elsewhere else 1]:
            if any(identity) and (reason := reason_moved(each, identity)):
                raise StoreLost(reason)
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            writer = _connect(path)
            undo.callback(writer.close)
            _migrate(writer)
            for statement in LATER_TABLES.split(";\n"):
                writer.execute(statement)
            reader = _connect(path)
            undo.callback(reader.close)
            files = Files(path)
            undo.pop_all()
    except (OSError, sqlite3.Error, StoreUnavailable) as error:
        raise StoreUnavailable(f"cannot use the task store {path}: {error}{_advice(error, path)}") from error
    opened[:] = files.identities
    return writer, reader, files


def _advice(error: Exception, path: Path) -> str:
    """How to fix what keeps the database from being opened, where SQLite's own words say nothing of it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return "; something else has written it. Move it away, or set LEO_DATA_DIR to another folder"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"; restore a backup, or save what can be read with `sqlite3 {path.name} .recover`"
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or isinstance(error, OSError):
        return f". The service must be able to write to {path.parent} and to the files in it; or set LEO_DATA_DIR"
    if code == sqlite3.SQLITE_FULL:
        return f": free some space in {path.parent}"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ": another program has locked it; close that, or set LEO_DATA_DIR to another folder"
    return ""


def _connect(path: Path) -> sqlite3.Connection:
    # One thread at a time uses it, but another thread may close it when the interpreter exits.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        for pragma in (
            f"busy_timeout={BUSY_MILLISECONDS}",
            f"page_size={PAGE_SIZE}",  # has an effect on a new file only
            "journal_mode=WAL",
            "synchronous=NORMAL",  # a commit is on disk once the log is, see `app.store.group_commit`
            "foreign_keys=ON",
            "secure_delete=FAST",  # some builds overwrite all that is deleted, through the log: as much room once more
        ):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def schema_version(connection: sqlite3.Connection) -> int:
    """The version of the tables in the file. Raises `sqlite3.Error`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    """Create the tables, or convert those of version 1. Raises `StoreUnavailable` for an unknown version."""
    if schema_version(connection) == SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        version = schema_version(connection)
        if version == SCHEMA_VERSION:  # another worker was faster
            return
        if version not in (0, 1):
            raise StoreLost(
                f"its schema is version {version}, this program's is {SCHEMA_VERSION}: run the program that made it"
            )
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
