"""Writes that share transactions: each is on disk when it returns, and fails for itself alone."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store import IdempotencyRecord
from app.store.errors import IdempotencyConflict, StoreUnavailable, TooManyTasks
from app.store.sqlite import SQLiteStore
from tests.helpers.records import ids, record
from tests.helpers.waiting import wait_in_loop_until


class Disk:
    """Counts the waits for the disk; each ends when the test lets it, and fails if the test wants it to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.error: OSError | None = None
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._real = os.fdatasync
        monkeypatch.setattr("app.store.sqlite_file.os.fdatasync", self._sync)

    def hold(self) -> None:
        self._may_go_on.clear()

    def let_go(self) -> None:
        self._may_go_on.set()

    def _sync(self, descriptor: int) -> None:
        self.syncs += 1
        self._may_go_on.wait(30)
        if self.error:
            raise self.error
        self._real(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.let_go()


def test_writes_that_wait_together_share_a_wait_for_the_disk(path: Path, disk: Disk) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        disk.hold()
        first = asyncio.create_task(store.add(record("first")))
        await wait_in_loop_until(lambda: disk.syncs == 1)
        others = [asyncio.create_task(store.add(record(f"t{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        assert not first.done()  # nothing is acknowledged before it is on disk
        disk.let_go()
        await asyncio.gather(first, *others)
        assert disk.syncs == 2
        assert len(await ids(store)) == 51
        await store.close()

    asyncio.run(scenario())


def test_a_write_that_fails_fails_alone(path: Path, disk: Disk) -> None:
    """Whether it is refused, or SQLite itself cannot do it."""

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.add(record("a"), idempotency=IdempotencyRecord("key", b"one"))
        disk.hold()
        first = asyncio.create_task(store.add(record("first")))
        await wait_in_loop_until(lambda: disk.syncs == 2)
        group = [
            store.add(record("b")),
            store.add(record("refused"), idempotency=IdempotencyRecord("key", b"two")),
            store.add(record("c"), support=b"x"),
            store.add(record("full"), max_tasks=1),
            store.add(record("a")),  # there is one already
            store.delete("nothing", "me"),
            store.add(record("d")),
        ]
        working = asyncio.gather(*group, return_exceptions=True)
        await asyncio.sleep(0)
        disk.let_go()
        _, conflict, _, full, twice, deleted, _ = await working
        await first
        assert isinstance(conflict, IdempotencyConflict)
        assert isinstance(full, TooManyTasks)
        assert isinstance(twice, StoreUnavailable)
        assert deleted is False
        assert await ids(store) == ["d", "c", "b", "first", "a"]
        await store.close()

    asyncio.run(scenario())


def test_a_disk_that_fails_acknowledges_nothing(path: Path, disk: Disk) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        disk.error = OSError(5, "Input/output error")
        for name in "ab":
            with pytest.raises(StoreUnavailable, match="Input/output error"):
                await store.add(record(name))
        disk.error = None
        await store.add(record("c"))
        await store.close()

    asyncio.run(scenario())


def test_a_repeated_request_is_not_answered_before_its_task_is_on_disk(path: Path, disk: Disk) -> None:
    once = IdempotencyRecord("key", b"digest")

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        disk.hold()
        first = asyncio.create_task(store.add(record("a"), idempotency=once))
        await wait_in_loop_until(lambda: disk.syncs == 1)
        again = asyncio.create_task(store.find_by_idempotency_key("me", once))
        assert await store.count("me") == 1  # reads go on, so this one has found the task by now
        assert not again.done()
        disk.let_go()
        found = await again
        assert found is not None
        assert found.task_id == (await first).task_id == "a"
        await store.close()

    asyncio.run(scenario())


def test_a_write_that_nobody_waits_for_is_dropped(path: Path, disk: Disk) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        disk.hold()
        first = asyncio.create_task(store.add(record("first")))
        await wait_in_loop_until(lambda: disk.syncs == 1)
        left = asyncio.create_task(store.add(record("left")))
        await asyncio.sleep(0)
        left.cancel()
        disk.let_go()
        await first
        await store.add(record("later"))
        assert await ids(store) == ["later", "first"]
        await store.close()

    asyncio.run(scenario())


def test_a_process_that_stands_still_in_its_turn_makes_the_others_fail_and_then_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.group_commit.WRITE_TIMEOUT", 0.3)

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        with path.with_name("tasks.sqlite3-lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(StoreUnavailable, match=r"within 0\.3 s"):
                await store.add(record("a"))
            assert await store.get("a", "me") is None  # reads need no turn
        await store.add(record("b"))
        assert await ids(store) == ["b"]  # the first one was dropped, not only late
        await store.close()

    asyncio.run(scenario())


def test_a_file_that_another_program_has_locked_is_waited_for_but_not_for_ever(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        adding = [store.add(record(f"t{n}")) for n in range(20)]
        refused = await asyncio.gather(*adding, return_exceptions=True)
        assert {str(error) for error in refused} == {"the task store failed: database is locked"}
        other.execute("ROLLBACK")
        other.close()
        await store.add(record("later"))
        await store.close()

    asyncio.run(scenario())


WRITER = """
import asyncio, sys
from pathlib import Path
from app.store.sqlite import SQLiteStore
from tests.helpers.records import record

async def scenario(path, name):
    store = await SQLiteStore.open(path)
    async def client(number):
        for n in range(10_000):
            made = await store.add(record(f"{name}-{number}-{n}"), support=b"x" * 1000)
            print(made.task_id, flush=True)
    await asyncio.gather(*map(client, range(8)))

asyncio.run(scenario(Path(sys.argv[1]), sys.argv[2]))
"""


def test_processes_that_are_killed_while_they_write_lose_nothing_they_acknowledged(path: Path) -> None:
    def started(name: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True)

    acknowledged: list[str] = []
    for kill in range(3):
        writers = [started(f"{kill}-{n}") for n in range(3)]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged += [writer.stdout.readline().strip() for _ in range(20)]  # all of them get their turn
        for writer in writers:
            writer.kill()
            acknowledged += [line.strip() for line in writer.communicate()[0].splitlines(keepends=True) if "\n" in line]

    async def check() -> set[str]:
        store = await SQLiteStore.open(path)
        return {task_id for task_id in acknowledged if await store.get(task_id, "me") is None}

    assert len(acknowledged) >= 180
    assert asyncio.run(check()) == set()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_turn_that_cannot_be_taken_fails_its_writes_and_no_later_ones(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the first of them is no longer waited for."""
    real = fcntl.flock

    def broken(*_: object) -> None:
        raise OSError("no locks available")

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        disk.hold()
        held = asyncio.create_task(store.add(record("held")))
        await wait_in_loop_until(lambda: disk.syncs == 1)
        given_up = asyncio.create_task(store.add(record("given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        monkeypatch.setattr("app.store.group_commit.fcntl.flock", broken)
        disk.let_go()
        await held
        with pytest.raises(StoreUnavailable, match="no locks available"):
            await store.add(record("refused"))
        monkeypatch.setattr("app.store.group_commit.fcntl.flock", real)
        assert (await store.add(record("later"))).task_id == "later"
        await store.close()

    asyncio.run(scenario())
