"""Writes to an SQLite file that share transactions, so that many cost one wait for the disk.

bench/results/store.json holds how many writes a second that makes.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from app.store.errors import StoreLost, StoreUnavailable
from app.store.reserve import Reserve
from app.store.sqlite_file import PAGE_SIZE, SCHEMA_VERSION, UNTIL_THEN, Files, schema_version

WRITE_TIMEOUT = 5.0  # seconds that a write may take, its wait for others included
CLOSE_TIMEOUT = 10.0  # seconds
TIDY_EVERY = 60.0  # seconds between looks for what has expired, once there is nothing more of it
EMPTY_LOG_EVERY = 1.0  # seconds between tries to make room in a log for which the disk has none
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# A disk without room, or a write that the system refuses for another reason, such as a quota that is used up.
REFUSED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
ADVICE = {
    errno.EROFS: "make its file system writable; the log of the system says what made it read-only",
    errno.EDQUOT: "delete tasks, or raise the quota of the user of the service",
    errno.EFBIG: "allow the service larger files (`ulimit -f`)",
}

Returned = TypeVar("Returned")


class Write(NamedTuple):
    """A function that writes, and what comes of it."""

    call: Callable[[], Any]
    result: "Future[Any]"
    makes_room: bool


class GroupCommit:
    """A thread that does all writes of one process: whatever waits goes into one transaction.

    Processes take turns by a lock on a file of its own. SQLite's own lock would have them try again after ever longer
    pauses, so that some starve. The lock is free again before the disk has the transaction: then the next process
    writes its own, and one wait for the disk can serve them all. A write has succeeded once the disk has it.
    """

    def __init__(
        self, connection: sqlite3.Connection, files: Files, path: Path, tidy: Callable[[sqlite3.Connection], bool]
    ) -> None:
        """`connection` is used by this thread alone from now on.

        `tidy` deletes a little of what is of no use any more, and returns whether there may be more. Raises `OSError`.
        """
        self._connection, self._files, self._path = connection, files, path
        self._tidying = Write(lambda: tidy(connection), Future(), makes_room=True)
        self._tidy_at = 0.0  # by the monotonic clock; at first after the first write
        self._turn = path.with_name(f"{path.name}-lock").open("ab", buffering=0)
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._waiting: SimpleQueue[Write | None] = SimpleQueue()  # None ends the thread
        self._empty_log_at = 0.0  # by the monotonic clock: until then creations need not try to make room in the log
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    async def submit(self, call: Callable[[], Returned], *, makes_room: bool = False) -> Returned:
        """Run a function that writes through the connection; it is on disk when this returns.

        One that `makes_room`, since it deletes, is given the reserve if the disk is full.

        What the function raises is raised here, and its writes are undone; `sqlite3.Error` becomes `StoreUnavailable`.
        A write that its caller no longer waits for is dropped if it has not begun.
        """
        if self._closed:
            raise StoreUnavailable("the task store is closed")
        result: Future[Any] = Future()
        self._waiting.put(Write(call, result, makes_room))
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                return cast(Returned, await asyncio.wrap_future(result))
        except TimeoutError:
            raise StoreUnavailable(f"the task store did not write to {self._path} within {WRITE_TIMEOUT:g} s") from None

    def close(self) -> None:
        """Finish what waits and end the thread."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        if not self._thread.is_alive():
            self._turn.close()

    # -- in the thread -----------------------------------------------------------------------

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            group: list[Write] = []
            try:
                with self._in_turn():
                    group += [write for write in [first, *self._others()] if _begins(write)]
                    outcomes = self._write(group)
                    self._tidy_now_and_then()
                    self._reserve.fill_now_and_then()
                failure = self._sync()
            except Exception as error:
                group = group or [write for write in [first] if _begins(write)]
                failure = StoreUnavailable(f"the task store failed: {error}")
                outcomes = [failure] * len(group)
            for write, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Exception) or failure:
                    write.result.set_exception(outcome if isinstance(outcome, Exception) else failure)
                else:
                    write.result.set_result(outcome)

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """While no other process writes. Raises `OSError`."""
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _others(self) -> Iterator[Write]:
        """What else waits by now."""
        try:
            while (write := self._waiting.get_nowait()) is not None:
                yield write
            self._waiting.put(None)  # it ends after this group
        except Empty:
            return

    def _write(self, group: list[Write]) -> list[Any]:
        """Do a group's writes in one transaction, or each in its own where that fails: results or exceptions."""
        if not group:
            return []
        try:
            self._check_usable()
            return self._transaction(group)
        except (sqlite3.Error, StoreUnavailable) as error:
            failure = self._unavailable(error)
            code = getattr(error, "sqlite_errorcode", 0)
            if isinstance(failure, StoreLost) or code & 0xFF in LOCKED:
                return [failure] * len(group)
            if len(group) == 1:
                return [self._write_on_full_disk(group[0], failure) if code in REFUSED else failure]
        return [outcome for write in group for outcome in self._write([write])]

    def _write_on_full_disk(self, write: Write, failure: StoreUnavailable) -> Any:
        """Do a write in the room that the log takes, or that can be made: its result, or an exception.

        What was deleted from the database makes room in it, but whatever is written goes through the log.
        """
        if write.makes_room:
            self._reserve.spend()
        elif time.monotonic() < self._empty_log_at:
            return failure
        self._empty_log()
        try:
            if not write.makes_room:
                self._tidy_on_full_disk()
            (outcome,) = self._transaction([write])
        except sqlite3.Error as error:
            return self._unavailable(error)
        if write.makes_room:
            self._empty_log()
            self._reserve.fill()
        return outcome

    def _tidy_on_full_disk(self) -> None:
        """Tidy, in the reserve if need be: nobody can delete what has expired. Raises `sqlite3.Error`."""
        try:
            self._transaction([self._tidying])
        except sqlite3.Error:
            self._reserve.spend()
            try:
                self._transaction([self._tidying])
            finally:
                self._empty_log()
                self._reserve.fill()

    def _tidy_now_and_then(self) -> None:
        """Tidy once a minute, and after each group of writes while there is more to do."""
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_EVERY
            with contextlib.suppress(sqlite3.Error, StoreUnavailable):
                self._check_usable()
                (more,) = self._transaction([self._tidying])
                self._tidy_at = 0.0 if more else self._tidy_at

    def _empty_log(self) -> None:
        """Move the log into the database, and give its room back, unless the database needs more than there is."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._empty_log_at = 0.0
        except sqlite3.Error:
            self._empty_log_at = time.monotonic() + EMPTY_LOG_EVERY

    def _check_usable(self) -> None:
        """Raises `StoreLost` or `sqlite3.Error` where a write would be of no use."""
        reason = self._files.reason_lost()
        if reason:
            raise StoreLost(reason)
        version = schema_version(self._connection)
        if version != SCHEMA_VERSION:
            raise StoreLost(
                f"{self._path} now has tables of version {version}, this program's are {SCHEMA_VERSION}: another "
                f"version of it has taken them over. Run that one; {UNTIL_THEN}"
            )

    def _transaction(self, group: list[Write]) -> list[Any]:
        """Do writes in one transaction: results, or exceptions of those that were undone. Raises `sqlite3.Error`."""
        execute = self._connection.execute
        with self._connection:
            execute("BEGIN IMMEDIATE")
            outcomes: list[Any] = []
            for write in group:
                execute("SAVEPOINT one")
                try:
                    outcomes.append(write.call())
                except sqlite3.Error:  # it may have ended the whole transaction
                    raise
                except Exception as error:
                    execute("ROLLBACK TO one")
                    outcomes.append(error)
                execute("RELEASE one")
        return outcomes

    def _sync(self) -> StoreUnavailable | None:
        """Wait until all that was written is on disk, in files that the next start will find."""
        try:
            self._files.sync()
        except OSError as error:
            return StoreUnavailable(f"the task store cannot write to disk: {error}")
        reason = self._files.reason_lost()
        return StoreLost(reason) if reason else None

    def _unavailable(self, error: sqlite3.Error | StoreUnavailable) -> StoreUnavailable:
        return error if isinstance(error, StoreUnavailable) else unavailable(error, self._path)


def _begins(write: Write) -> bool:
    """Whether a write's caller still waits for it; it can no longer be dropped then."""
    return write.result.set_running_or_notify_cancel()


def unavailable(error: sqlite3.Error, path: Path) -> StoreUnavailable:
    """An error of SQLite, as the error of a store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED:
        return StoreLost(
            f"{path} is damaged ({error}): stop the service, and restore a backup or save what can be read with "
            f"`sqlite3 {path.name} .recover`"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"the disk of {path} is full: free some space there, or delete tasks")
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailable(f"the disk of {path} fails ({_said_by_system(path) or error})")
    return StoreUnavailable(f"the task store failed: {error}")


def _said_by_system(path: Path) -> str:
    """Why nothing can be written beside the store, and how to fix it; SQLite does not tell."""
    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
            file.write(bytes(PAGE_SIZE))
            os.posix_fallocate(file.fileno(), 0, path.with_name(f"{path.name}-wal").stat().st_size + PAGE_SIZE)
    except OSError as error:
        return f"{error.strerror}; {ADVICE.get(error.errno or 0, 'see the log of the system')}"
    return ""
