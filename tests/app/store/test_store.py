"""The contract that every store keeps, with each of them behind it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisCluster

from app.store import IdempotencyRecord, PictureChanges, TaskStore
from app.store.errors import DamagedRecord, IdempotencyConflict, RecordOfOtherVersion, TooManyPictures, TooManyTasks
from app.store.redis import RedisStore
from app.store.sqlite import SQLiteStore
from tests.helpers.records import assert_same, ids, record, support_of
from tests.helpers.redis_server import RedisNodes
from tests.helpers.waiting import wait_in_loop_until, wait_until

Scenario = Callable[[TaskStore], Coroutine[Any, Any, None]]
WithStore = Callable[[Scenario], None]


@pytest.fixture(params=["sqlite", "redis", "redis cluster"])
def with_store(request: pytest.FixtureRequest, path: Path) -> WithStore:
    """Runs a scenario with a store newly opened; what the store holds stays for the next scenario."""
    url = ""
    if request.param == "redis":
        request.getfixturevalue("redis")
        url = request.getfixturevalue("redis_server").url
    elif request.param == "redis cluster":
        nodes: RedisNodes = request.getfixturevalue("redis_nodes")
        url = nodes.url

    async def whole(scenario: Scenario) -> None:
        store = await (RedisStore.open(url) if url else SQLiteStore.open(path))
        try:
            await scenario(store)
        finally:
            await store.close()

    return lambda scenario: asyncio.run(whole(scenario))


@pytest.fixture
def damage(request: pytest.FixtureRequest, path: Path, with_store: WithStore) -> Callable[[str, bytes, bytes], None]:
    """Replaces some bytes of a stored record of "me"."""

    def in_file(task_id: str, old: bytes, new: bytes) -> None:
        with sqlite3.connect(path) as connection:
            (packed,) = connection.execute("SELECT record FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
            connection.execute("UPDATE tasks SET record = ? WHERE task_id = ?", (packed.replace(old, new), task_id))
        connection.close()

    def in_redis(task_id: str, old: bytes, new: bytes) -> None:
        if request.node.callspec.params["with_store"] == "redis cluster":
            client: Any = RedisCluster.from_url(request.getfixturevalue("redis_nodes").nodes[0].url)
        else:
            client = Redis.from_url(request.getfixturevalue("redis_server").url)
        key = f"leo:{{me}}:task:{task_id}"
        client.set(key, client.get(key).replace(old, new))
        client.close()

    return in_file if request.node.callspec.params["with_store"] == "sqlite" else in_redis


def test_a_task_comes_back_whole_even_after_a_restart(with_store: WithStore) -> None:
    made = record("a", name="naïve", expires_at=time.time() + 1000)

    async def check(store: TaskStore) -> None:
        assert_same(await store.get("a", "me"), made)
        assert await support_of(store, "a", "me") == b"\0\xff\n"

    async def add(store: TaskStore) -> None:
        assert_same(await store.add(made, support=b"\0\xff\n"), made)
        await store.add(record("b"))
        assert await support_of(store, "b", "me") is None
        await check(store)

    with_store(add)
    with_store(check)


def test_owners_see_only_their_own(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("a", owner="one"), support=b"mine")
        await store.add(record("b", owner="two"))
        assert await store.get("a", "two") is None
        assert await support_of(store, "a", "two") is None
        assert not await store.delete("a", "two")
        assert not await store.update(record("a", owner="two"), support=b"theirs")
        assert await ids(store, "one") == ["a"]
        assert await support_of(store, "a", "one") == b"mine"
        assert not await store.delete("a", "one", revision=7)
        assert await store.delete("a", "one", revision=0)
        assert not await store.delete("a", "one")
        assert await support_of(store, "a", "one") is None

    with_store(scenario)


def test_pictures_come_and_go_with_their_examples_and_their_task(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        three = PictureChanges({0: b"zero", 2: b"two", 10: b"\0ten\n"}, 1000)
        made = await store.add(record("a", keep_images=True), support=b"x", pictures=three)
        await store.add(record("b"))
        assert list((await store.pictures("a", "me")).items()) == list(three.added.items())
        assert await store.pictures("a", "me", 2) == {2: b"two"}
        for nothing in (store.pictures("a", "me", 1), store.pictures("a", "you"), store.pictures("b", "me")):
            assert await nothing == {}
        assert await store.update(made, pictures=PictureChanges({11: b"eleven"}, 1000, removed=2))
        assert not await store.update(made, pictures=PictureChanges({12: b"late"}, 1000, removed=0))
        assert await store.pictures("a", "me") == {0: b"zero", 10: b"\0ten\n", 11: b"eleven"}
        expired = time.time() + 0.25
        later = replace(made, revision=1, expires_at=expired - 0.05)
        assert await store.update(later)
        await asyncio.to_thread(wait_until, lambda: time.time() > expired)
        assert await store.pictures("a", "me") == {}
        gone = await store.add(record("c"), pictures=three)
        assert await store.delete("c", "me")
        assert await store.pictures(gone.task_id, "me") == {}

    with_store(scenario)


def test_pictures_of_an_owner_have_a_limit_together(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("short", expires_at=time.time() + 0.2), pictures=PictureChanges({0: bytes(60)}, 100))
        with pytest.raises(TooManyPictures):
            await store.add(record("a"), support=b"x", pictures=PictureChanges({0: bytes(41)}, 100))
        assert await store.get("a", "me") is None
        await store.add(record("other", owner="you"), pictures=PictureChanges({0: bytes(100)}, 100))
        made = await store.add(record("b"), pictures=PictureChanges({0: bytes(40)}, 100))
        with pytest.raises(TooManyPictures):
            await store.update(made, support=b"y", pictures=PictureChanges({1: b"1"}, 100))
        assert await support_of(store, "b", "me") is None
        assert await store.update(made, pictures=PictureChanges({1: bytes(40)}, 100, removed=0))
        assert await store.update(replace(made, revision=1), pictures=PictureChanges({}, 10))  # as after a lower limit
        deadline = time.time() + 0.3
        await asyncio.to_thread(wait_until, lambda: time.time() > deadline)  # "short" has expired
        await store.add(record("c"), pictures=PictureChanges({0: bytes(60)}, 100))
        assert await store.delete("c", "me")
        await store.add(record("d"), pictures=PictureChanges({0: bytes(60)}, 100))

    with_store(scenario)


def test_expired_tasks_are_gone(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        old = record("old", expires_at=time.time() - 1)
        await store.add(old, support=b"x", idempotency=IdempotencyRecord("key", b"digest"))
        assert await store.get("old", "me") is None
        assert await support_of(store, "old", "me") is None
        assert await store.find_by_idempotency_key("me", IdempotencyRecord("key", b"digest")) is None
        assert not await store.update(old)
        assert not await store.delete("old", "me")
        assert await ids(store) == []
        await store.add(record("new"), max_tasks=1)  # nor do they count

    with_store(scenario)


def test_a_task_expires_when_its_time_is_over(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("short", expires_at=time.time() + 1), support=b"x")
        await store.add(record("long"))
        assert await ids(store) == ["long", "short"]
        async with asyncio.timeout(10):
            while await store.get("short", "me"):
                pass
        assert await ids(store) == ["long"]
        assert await support_of(store, "short", "me") is None

    with_store(scenario)


def test_live_tasks_are_counted_for_each_owner(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await store.count("me") == 0
        for n in range(3):
            await store.add(record(f"t{n}", expires_at=time.time() + 1000))
        await store.add(record("theirs", owner="two"))
        await store.add(record("gone", expires_at=time.time() - 1))
        await store.update(record("t0", expires_at=time.time() - 1))
        await store.delete("t1", "me")
        assert (await store.count("me"), await store.count("two")) == (1, 1)

    with_store(scenario)


def test_pages_stay_put_while_tasks_are_added_and_expire(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        for n in range(5):
            await store.add(record(f"t{n}"))
            await store.add(record(f"gone{n}", expires_at=time.time() - 1))
        first = await store.page("me", 2, None)
        await store.add(record("later"))
        second = await store.page("me", 2, first.next_cursor)
        third = await store.page("me", 2, second.next_cursor)
        found = [*first.records, *second.records, *third.records]
        assert [each.task_id for each in found] == ["t4", "t3", "t2", "t1", "t0"]
        assert third.next_cursor is None
        for nonsense in ("", "x", "-1", "9" * 30, "1; DROP TABLE tasks", "²", "(1", "+inf"):
            with pytest.raises(ValueError, match="cursor"):
                await store.page("me", 2, nonsense)

    with_store(scenario)


def test_an_update_replaces_only_the_revision_it_was_made_from(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        ends = time.time() + 1000
        await store.add(record("a", expires_at=ends), support=b"one")
        await store.add(record("b"))
        read = await store.get("a", "me")
        assert read is not None
        assert await store.update(replace(read, name="new"), support=b"two")
        # Made from a revision that has been replaced.
        assert not await store.update(replace(read, name="too late"), support=b"three")
        found = await store.get("a", "me")
        assert_same(found, replace(read, name="new", revision=1))
        assert await support_of(store, "a", "me") == b"two"
        assert found is not None
        assert await store.update(replace(found, name="newer", expires_at=None))  # without a payload, the old one stays
        assert await support_of(store, "a", "me") == b"two"
        assert await ids(store) == ["b", "a"]
        assert await store.delete("a", "me")
        assert not await store.update(replace(found, revision=2))
        assert await store.get("a", "me") is None
        assert await support_of(store, "a", "me") is None

    with_store(scenario)


def test_an_update_may_shorten_or_lift_a_tasks_lifetime(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        expires_at = time.time() + 1
        for task_id in ("shorter", "lifted"):
            await store.add(record(task_id, expires_at=expires_at), support=b"x")
        assert await store.update(record("lifted", expires_at=None))
        assert await store.update(record("shorter", expires_at=time.time() - 1))
        assert await store.get("shorter", "me") is None
        assert await support_of(store, "shorter", "me") is None
        await asyncio.sleep(max(0.0, expires_at + 0.01 - time.time()))  # until the first lifetime is over
        await store.add(record("other"))  # adding a task removes those that have expired
        assert await ids(store) == ["other", "lifted"]
        assert await support_of(store, "lifted", "me") == b"x"

    with_store(scenario)


def test_of_concurrent_updates_one_wins(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("a"))
        updates = [replace(record("a"), name=f"n{n}") for n in range(10)]
        won = await asyncio.gather(*(store.update(update, support=str(update.name).encode()) for update in updates))
        assert won.count(True) == 1
        found = await store.get("a", "me")
        assert found is not None
        assert found.name == updates[won.index(True)].name
        assert await support_of(store, "a", "me") == str(found.name).encode()

    with_store(scenario)


def test_one_idempotency_key_makes_one_task(with_store: WithStore) -> None:
    once = IdempotencyRecord("key", b"digest")

    async def scenario(store: TaskStore) -> None:
        assert await store.find_by_idempotency_key("me", once) is None
        answers = await asyncio.gather(*(store.add(record(f"t{n}"), idempotency=once) for n in range(10)))
        (task_id,) = {answer.task_id for answer in answers}
        assert await ids(store) == [task_id]
        with pytest.raises(IdempotencyConflict):
            await store.add(record("other"), idempotency=IdempotencyRecord("key", b"another"))
        with pytest.raises(IdempotencyConflict):
            await store.find_by_idempotency_key("me", IdempotencyRecord("key", b"another"))
        theirs = await store.add(record("theirs", owner="you"), idempotency=IdempotencyRecord("key", b"another"))
        assert theirs.task_id == "theirs"
        assert await ids(store) == [task_id]

        assert await store.update(replace(answers[0], name="renamed"))
        assert_same(await store.find_by_idempotency_key("me", once), answers[0])  # as it was first answered
        await store.delete(task_id, "me")
        assert await store.find_by_idempotency_key("me", once) is None
        assert (await store.add(record("anew"), idempotency=IdempotencyRecord("key", b"another"))).task_id == "anew"

    with_store(scenario)


def test_one_idempotency_key_changes_a_task_once(with_store: WithStore) -> None:
    once, other = IdempotencyRecord("key", b"digest"), IdempotencyRecord("key", b"another")

    async def scenario(store: TaskStore) -> None:
        made = [await store.add(record(task_id)) for task_id in ("a", "b")]
        changed = [replace(each, name="changed") for each in made]
        assert await store.update(changed[0], idempotency=once)
        stored = replace(changed[0], revision=1)
        assert_same(await store.find_by_idempotency_key("me", once), stored)
        assert not await store.update(stored, idempotency=once)  # it has been made
        assert_same(await store.get("a", "me"), stored)
        for each in (stored, changed[1]):
            with pytest.raises(IdempotencyConflict):
                await store.update(each, idempotency=other)
        with pytest.raises(IdempotencyConflict):
            await store.add(record("c"), idempotency=other)
        assert_same(await store.get("b", "me"), made[1])
        assert await store.update(replace(stored, name="again"))
        assert_same(await store.find_by_idempotency_key("me", once), await store.get("a", "me"))  # as it is now
        await store.delete("a", "me")
        assert await store.find_by_idempotency_key("me", once) is None
        assert await store.update(changed[1], idempotency=other)
        assert not await store.update(replace(record("gone"), revision=3), idempotency=IdempotencyRecord("k", b"d"))
        assert await store.find_by_idempotency_key("me", IdempotencyRecord("k", b"d")) is None

    with_store(scenario)


def test_the_latest_changes_and_the_creation_are_remembered(
    with_store: WithStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite", "redis"):
        monkeypatch.setattr(f"app.store.{module}.MOST_CALLS", 5)
    created, *changes = [IdempotencyRecord(f"key-{n}", b"digest") for n in range(13)]

    async def scenario(store: TaskStore) -> None:
        task = await store.add(record("a"), idempotency=created)
        await store.add(record("b"), idempotency=IdempotencyRecord("of another", b"digest"))
        for revision, once in enumerate(changes):
            assert await store.update(replace(task, revision=revision), idempotency=once)
        found = [await store.find_by_idempotency_key("me", once) for once in changes]
        assert [each.revision for each in found if each] == [12] * 5
        assert all(found[-5:])
        assert_same(await store.find_by_idempotency_key("me", created), task)
        assert await store.find_by_idempotency_key("me", IdempotencyRecord("of another", b"digest"))

    with_store(scenario)


@pytest.mark.parametrize("end", ["deleted", "expired"])
def test_a_task_takes_its_idempotency_keys_with_it(
    with_store: WithStore, request: pytest.FixtureRequest, path: Path, end: str
) -> None:
    """Or one that makes and deletes tasks would fill the store, in which it has none."""
    onces = [IdempotencyRecord(f"key-{n}", b"digest") for n in range(30)]

    async def scenario(store: TaskStore) -> None:
        for n in range(0, 30, 3):
            expires = time.time() + 1.5 if end == "expired" else None
            task = await store.add(record(f"t{n}", expires_at=expires), idempotency=onces[n])
            assert await store.update(task, idempotency=onces[n + 1])
            assert await store.update(replace(task, revision=1), idempotency=onces[n + 2])
            if end == "deleted":
                assert await store.delete(f"t{n}", "me")
        soon = time.time() + 1.5
        await wait_in_loop_until(lambda: time.time() > soon)
        if isinstance(store, SQLiteStore):
            store._commits._tidy_at = 0.0
        await store.add(record("last"))  # expired tasks are cleared away by the next write

    with_store(scenario)
    if "sqlite" in request.node.name:
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM once").fetchone() == (0,)
    else:
        is_cluster = "cluster" in request.node.name
        nodes = (
            request.getfixturevalue("redis_nodes").nodes if is_cluster else [request.getfixturevalue("redis_server")]
        )
        keys = [key for node in nodes for key in Redis.from_url(node.url).scan_iter()]
        assert [key for key in keys if b":once:" in key or b":calls:" in key] == []


def test_an_owner_has_no_more_tasks_than_it_may(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        adding = [store.add(record(f"t{n}"), max_tasks=3) for n in range(6)]
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert sum(isinstance(result, TooManyTasks) for result in results) == 3
        assert len(await ids(store)) == 3
        await store.add(record("theirs", owner="you"), max_tasks=3)
        await store.delete((await ids(store))[0], "me")
        await store.add(record("room again"), max_tasks=3)

    with_store(scenario)


def test_one_unreadable_record_hides_no_other(
    with_store: WithStore, damage: Callable[[str, bytes, bytes], None]
) -> None:
    once = IdempotencyRecord("key", b"digest")

    async def add(store: TaskStore) -> None:
        for task_id in ("good", "newer", "damaged", "better"):
            await store.add(record(task_id), idempotency=once if task_id == "newer" else None)

    async def scenario(store: TaskStore) -> None:
        page = await store.page("me", 10, None)
        assert [each.task_id for each in page.records] == ["better", "good"]
        assert list(page.unreadable) == ["damaged", "newer"]
        assert "delete the task and create it again" in page.unreadable["damaged"]
        assert "is a record of schema 3" in page.unreadable["newer"]
        second = await store.page("me", 2, (await store.page("me", 2, None)).next_cursor)
        assert ([each.task_id for each in second.records], list(second.unreadable)) == (["good"], ["newer"])
        with pytest.raises(RecordOfOtherVersion):
            await store.get("newer", "me")
        with pytest.raises(DamagedRecord):
            await store.get("damaged", "me")
        assert await store.count("me") == 4
        assert await store.delete("newer", "me")
        assert await store.delete("damaged", "me")
        assert await ids(store) == ["better", "good"]
        assert await store.find_by_idempotency_key("me", once) is None

    with_store(add)
    damage("newer", b'"schema":1', b'"schema":3')
    damage("damaged", b'"shots":', b'"shoes":')
    with_store(scenario)
