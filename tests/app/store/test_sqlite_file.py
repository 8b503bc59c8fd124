"""A database whose files are deleted, moved, replaced or damaged while the store is open."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from app.store.errors import StoreLost, StoreUnavailable
from app.store.sqlite import SQLiteStore
from tests.helpers.records import ids, record


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "database deleted": (os.unlink, "tasks.sqlite3 is gone"),
    "log deleted": (lambda path: path.with_name("tasks.sqlite3-wal").unlink(), "tasks.sqlite3-wal is gone"),
    "index deleted": (lambda path: path.with_name("tasks.sqlite3-shm").unlink(), "tasks.sqlite3-shm is gone"),
    "folder moved": (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), "tasks.sqlite3 is gone"),
    "folder deleted": (lambda path: shutil.rmtree(path.parent), "tasks.sqlite3 is gone"),
    "replaced by a copy": (replace_by_a_copy, "is another file than the one that the service opened"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_store_whose_files_are_lost_acknowledges_nothing_more(path: Path, loss: str) -> None:
    lose, said = LOSSES[loss]

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.add(record("a"))
        assert store.reason_lost() is None
        lose(path)
        assert said in str(store.reason_lost())
        for write in (store.add(record("b")), store.delete("a", "me"), store.update(record("a", name="new"))):
            with pytest.raises(StoreLost, match=said):
                await write
        assert await ids(store) == ["a"]  # what can be read still is
        await store.close()

    asyncio.run(scenario())


def test_a_store_whose_folder_is_back_goes_on(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        elsewhere = path.parent.rename(path.parent.with_name("elsewhere"))
        with pytest.raises(StoreLost, match="Put it back"):
            await store.add(record("a"))
        elsewhere.rename(path.parent)
        assert store.reason_lost() is None
        await store.add(record("b"))
        await store.close()
        store = await SQLiteStore.open(path)
        assert await ids(store) == ["b"]
        await store.close()

    asyncio.run(scenario())


def test_a_file_deleted_during_a_write_is_noticed_before_it_is_acknowledged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdatasync

    def deleting(descriptor: int) -> None:
        real(descriptor)
        path.unlink()

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        monkeypatch.setattr("app.store.sqlite_file.os.fdatasync", deleting)
        with pytest.raises(StoreLost, match="is gone"):
            await store.add(record("a"))
        await store.close()

    asyncio.run(scenario())


def test_workers_of_one_service_never_use_two_files(path: Path) -> None:
    opened = [0] * 6

    async def open_and_close() -> None:
        await (await SQLiteStore.open(path, opened)).close()

    asyncio.run(open_and_close())
    asyncio.run(open_and_close())
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="is gone"):
        asyncio.run(open_and_close())
    assert not path.exists()  # nor was an empty one made
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="is another file"):
        asyncio.run(open_and_close())


def test_damaged_pages_are_reported_with_what_to_do(path: Path) -> None:
    async def fill() -> None:
        store = await SQLiteStore.open(path)
        await asyncio.gather(*[store.add(record(f"t{n}"), support=b"x" * 5000) for n in range(40)])
        await store.close()

    async def look() -> None:
        store = await SQLiteStore.open(path)
        with pytest.raises(StoreLost, match=r"tasks\.sqlite3 is damaged .*restore a backup"):
            await store.page("me", 100, None)
        with pytest.raises(StoreLost, match="is damaged"):
            await store.add(record("new"))
        await store.close()

    asyncio.run(fill())
    whole = path.read_bytes()
    path.write_bytes(whole[:16384] + b"\x55" * (len(whole) - 16384))
    asyncio.run(look())


def test_tables_that_another_version_has_taken_over_are_left_alone(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.add(record("a"))
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version=3")
        other.close()
        with pytest.raises(StoreLost, match="tables of version 3, this program's are 2"):
            await store.add(record("b"))
        await store.close()

    asyncio.run(scenario())


def test_a_full_disk_fails_writes_until_there_is_room(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.add(record("a"))
        pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
        store._writer.execute(f"PRAGMA max_page_count={pages}")
        adding = [store.add(record(f"t{n}"), support=b"x" * 100_000) for n in range(5)]
        small = store.add(record("small"))
        *refused, _ = await asyncio.gather(*adding, small, return_exceptions=True)
        (said,) = {str(error) for error in refused}
        assert said == f"the disk of {path} is full: free some space there, or delete tasks"
        assert await ids(store) == ["small", "a"]
        store._writer.execute("PRAGMA max_page_count=100000")
        await store.add(record("b"), support=b"x" * 100_000)
        await store.close()

    asyncio.run(scenario())


def test_a_file_that_is_no_database_is_named_with_what_to_do(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)

    async def scenario() -> None:
        with pytest.raises(StoreUnavailable, match=r"not a database.*Move it away, or set LEO_DATA_DIR"):
            await SQLiteStore.open(path)

    asyncio.run(scenario())


def test_a_file_that_another_program_holds_is_named_with_what_to_do(path: Path) -> None:
    path.parent.mkdir(parents=True)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    async def scenario() -> None:
        with pytest.raises(StoreUnavailable, match="another program has locked it"):
            await SQLiteStore.open(path)

    asyncio.run(scenario())
    holder.close()
