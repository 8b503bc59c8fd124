"""A disk that is full takes no new task, but lets tasks go, and takes as many again."""

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.errors import StoreUnavailable
from app.store.sqlite import SQLiteStore
from tests.helpers.records import record
from tests.helpers.small_disk import small_disk

SUPPORT = os.urandom(5000)


@pytest.fixture(params=[12, 24], ids=["12 MB", "24 MB"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where a store may make its file, on a disk of this size; the smaller one is full before the log is written on."""
    with small_disk(tmp_path / "disk", request.param) as disk:
        yield disk / "tasks.sqlite3"


async def fill(
    store: SQLiteStore,
    name: str,
    said: str = "is full: free some space there, or delete tasks",
    expires_at: float | None = None,
) -> list[str]:
    """Add tasks until there is no room, which must be `said`; returns their ids."""
    added: list[str] = []

    async def add_without_end() -> None:
        while True:
            stored = await store.add(record(f"{name}{len(added)}", expires_at=expires_at), support=SUPPORT)
            added.append(stored.task_id)

    with pytest.raises(StoreUnavailable, match=said):
        await add_without_end()
    return added


def test_tasks_can_be_deleted_again_and_again_and_make_room(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        alive = await fill(store, "first")
        for turn in range(4):
            gone, alive = alive[:10], alive[10:]
            assert [await store.delete(task_id, "me") for task_id in gone] == [True] * 10
            added = await fill(store, f"turn{turn}-")
            assert len(added) >= 8
            alive += added
        assert await store.count("me") == len(alive)
        assert all([await store.delete(task_id, "me") for task_id in alive])
        again = [await store.add(record(f"again{n}"), support=SUPPORT) for n in range(len(alive))]
        assert len(again) == await store.count("me")
        await store.close()
        reopened = await SQLiteStore.open(path)  # nothing acknowledged was lost
        assert await reopened.count("me") == len(again)
        await reopened.close()

    asyncio.run(scenario())


def test_workers_that_share_the_file_can_all_delete(path: Path) -> None:
    async def scenario() -> None:
        one, other = await SQLiteStore.open(path), await SQLiteStore.open(path)
        alive = await fill(one, "t")
        deleting = [(one, other)[n % 2].delete(task_id, "me") for n, task_id in enumerate(alive[:20])]
        assert await asyncio.gather(*deleting) == [True] * 20
        assert len(await fill(other, "new")) >= 8
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_what_has_expired_makes_room_with_the_next_deletion(path: Path) -> None:
    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        await store.add(record("first"), support=SUPPORT)
        for n in range(15):
            await store.add(record(f"short{n}", expires_at=1.0), support=SUPPORT)
        await fill(store, "t")
        await store.close()
        store = await SQLiteStore.open(path)
        assert await store.delete("first", "me")
        assert len(await fill(store, "u")) >= 8
        await store.close()

    asyncio.run(scenario())


def test_a_disk_full_of_what_has_expired_takes_tasks_again(path: Path) -> None:
    """Nobody can delete what has expired: it is in no list."""

    async def scenario() -> None:
        store = await SQLiteStore.open(path)
        filled = await fill(store, "t", expires_at=time.time() + 60.0)
        store._commits._empty_log_at = 0.0  # as a second later
        with pytest.MonkeyPatch.context() as patch:
            now = time.time
            patch.setattr(time, "time", lambda: now() + 90.0)
            again = [await store.add(record(f"again{n}"), support=SUPPORT) for n in range(len(filled) // 2)]
            assert await store.count("me") == len(again)
        await store.close()

    asyncio.run(scenario())


def test_a_limit_of_file_sizes_is_named_and_leaves_the_database_all_that_it_allows(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def scenario() -> None:
        store = await SQLiteStore.open(tmp_path / "tasks.sqlite3")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, limits[1]))
        added = await fill(store, "t", r"File too large; allow the service larger files \(`ulimit -f`\)")
        assert len(added) > 300  # the log alone takes 50 at that size
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert await store.delete(added[0], "me")
        await store.add(record("again"), support=SUPPORT)
        assert await store.count("me") == len(added)
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_from_the_start_says_how_to_fix_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "fills it").write_bytes(bytes(2**20 - 2**14))

        async def scenario() -> None:
            with pytest.raises(StoreUnavailable, match="free some space in"):
                await SQLiteStore.open(disk / "tasks.sqlite3")

        asyncio.run(scenario())
