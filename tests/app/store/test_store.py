"""One suite for both stores, then what each promises alone."""

import asyncio
import json
import logging
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from app.store import IdempotencyConflict, IdempotencyRecord, StoreUnavailable, TaskRecord, TaskStore, TooManyTasks
from app.store.record import pack, unpack
from app.store.redis import RedisStore
from app.store.sqlite import SQLiteStore
from tests.helpers.redis_server import RedisNodes, RedisServer, free_port, started, started_cluster

FIVE_CODES = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)


def record(task_id: str, **changes: Any) -> TaskRecord:
    made = TaskRecord(
        task_id=task_id,
        owner="me",
        name=None,
        model="omniglot",
        model_version="abc",
        shots={"zeta": 2, "альфа": 1},
        codes=np.arange(8, dtype=np.float32).reshape(2, 4),
        created_at=time.time(),
        expires_at=None,
        adaptation={"losses": [0.5, 0.1], "support_accuracy": 1.0, "milliseconds": 3.0},
    )
    return replace(made, **changes)


def usual(task_id: str) -> TaskRecord:
    """A 5-way task as the service makes it."""
    losses = [0.213346, 0.091235, 0.051235, 0.031235, 0.021235, 0.021235]
    return record(
        task_id.rjust(24, "0"),
        owner="some team",
        name="greek letters",
        model_version="3f9c1d0b7a52",
        shots={f"label number {n}": 1 for n in range(5)},
        codes=FIVE_CODES,
        expires_at=time.time() + 86400,
        adaptation={"losses": losses, "support_accuracy": 1.0, "milliseconds": 6.412},
    )


def same(found: TaskRecord | None, made: TaskRecord) -> bool:
    assert found is not None
    np.testing.assert_array_equal(found.codes, made.codes)
    assert list(found.shots) == list(made.shots)  # in the order of the codes
    return replace(found, codes=made.codes) == made


async def ids(store: TaskStore, owner: str = "me") -> list[str]:
    return [found.task_id for found in (await store.page(owner, 100, None))[0]]


Scenario = Callable[[TaskStore], Coroutine[Any, Any, None]]
WithStore = Callable[[Scenario], None]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = started(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client beside the store's, of an empty Redis."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def redis_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    nodes = started_cluster(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "tasks.sqlite3"


@pytest.fixture(params=["sqlite", "redis", "redis cluster"])
def with_store(request: pytest.FixtureRequest, path: Path) -> WithStore:
    """Runs a scenario with a store newly opened; what it holds stays for the next."""
    url = ""
    if request.param == "redis":
        request.getfixturevalue("redis")
        url = request.getfixturevalue("redis_server").url
    elif request.param == "redis cluster":
        nodes: RedisNodes = request.getfixturevalue("redis_nodes")
        nodes.empty()
        url = nodes.url

    async def whole(scenario: Scenario) -> None:
        store = await (RedisStore.open(url) if url else SQLiteStore.open(path))
        try:
            await scenario(store)
        finally:
            await store.close()

    return lambda scenario: asyncio.run(whole(scenario))


def test_a_record_comes_back_whole_also_after_a_restart(with_store: WithStore) -> None:
    made = record("a", name="naïve", expires_at=time.time() + 1000)

    async def check(store: TaskStore) -> None:
        assert same(await store.get("a", "me"), made)
        assert await store.support("a", "me") == b"\0\xff\n"

    async def add(store: TaskStore) -> None:
        assert same(await store.add(made, support=b"\0\xff\n"), made)
        await store.add(record("b"))
        assert await store.support("b", "me") is None
        await check(store)

    with_store(add)
    with_store(check)


def test_owners_see_only_their_own(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("a", owner="one"), support=b"mine")
        await store.add(record("b", owner="two"))
        assert await store.get("a", "two") is None
        assert await store.support("a", "two") is None
        assert not await store.delete("a", "two")
        assert not await store.update(record("a", owner="two"), support=b"theirs")
        assert await ids(store, "one") == ["a"]
        assert await store.support("a", "one") == b"mine"
        assert await store.delete("a", "one")
        assert not await store.delete("a", "one")
        assert await store.support("a", "one") is None

    with_store(scenario)


def test_expired_tasks_are_gone(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        old = record("old", expires_at=time.time() - 1)
        await store.add(old, support=b"x", idempotency=IdempotencyRecord("key", b"digest"))
        assert await store.get("old", "me") is None
        assert await store.support("old", "me") is None
        assert await store.find_by_idempotency_key("me", IdempotencyRecord("key", b"digest")) is None
        assert not await store.update(old)
        assert not await store.delete("old", "me")
        assert await ids(store) == []
        await store.add(record("new"), max_tasks=1)  # nor do they count

    with_store(scenario)


def test_a_task_expires_when_its_time_is_over(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("short", expires_at=time.time() + 0.3), support=b"x")
        await store.add(record("long"))
        assert await ids(store) == ["long", "short"]
        deadline = time.monotonic() + 10
        while await store.get("short", "me"):
            assert time.monotonic() < deadline
        assert await ids(store) == ["long"]
        assert await store.support("short", "me") is None

    with_store(scenario)


def test_what_lives_is_counted_for_each_owner(with_store: WithStore) -> None:
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
        first, cursor = await store.page("me", 2, None)
        await store.add(record("later"))
        second, cursor = await store.page("me", 2, cursor)
        third, end = await store.page("me", 2, cursor)
        assert [found.task_id for found in [*first, *second, *third]] == ["t4", "t3", "t2", "t1", "t0"]
        assert end is None
        for nonsense in ("", "x", "-1", "9" * 30, "1; DROP TABLE tasks", "²", "(1", "+inf"):
            with pytest.raises(ValueError, match="cursor"):
                await store.page("me", 2, nonsense)

    with_store(scenario)


def test_an_update_replaces_only_what_it_was_made_from(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        ends = time.time() + 1000
        await store.add(record("a", expires_at=ends), support=b"one")
        await store.add(record("b"))
        read = await store.get("a", "me")
        assert read is not None
        assert await store.update(replace(read, name="new"), support=b"two")
        assert not await store.update(replace(read, name="too late"), support=b"three")  # made from what is no more
        found = await store.get("a", "me")
        assert same(found, replace(read, name="new", revision=1))
        assert await store.support("a", "me") == b"two"
        assert found is not None
        assert await store.update(replace(found, name="newer", expires_at=None))  # without a payload: keeps it
        assert await store.support("a", "me") == b"two"
        assert await ids(store) == ["b", "a"]
        assert await store.delete("a", "me")
        assert not await store.update(replace(found, revision=2))
        assert await store.get("a", "me") is None
        assert await store.support("a", "me") is None

    with_store(scenario)


def test_an_update_may_shorten_or_lift_the_time(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        for task_id in ("shorter", "lifted"):
            await store.add(record(task_id, expires_at=time.time() + 0.5), support=b"x")
        assert await store.update(record("lifted", expires_at=None))
        assert await store.update(record("shorter", expires_at=time.time() - 1))
        assert await store.get("shorter", "me") is None
        assert await store.support("shorter", "me") is None
        await asyncio.sleep(0.6)  # past the first expiry
        await store.add(record("other"))  # which sweeps
        assert await ids(store) == ["other", "lifted"]
        assert await store.support("lifted", "me") == b"x"

    with_store(scenario)


def test_of_updates_at_once_one_wins(with_store: WithStore) -> None:
    async def scenario(store: TaskStore) -> None:
        await store.add(record("a"))
        updates = [replace(record("a"), name=f"n{n}") for n in range(10)]
        won = await asyncio.gather(*(store.update(update, support=str(update.name).encode()) for update in updates))
        assert won.count(True) == 1
        found = await store.get("a", "me")
        assert found is not None
        assert found.name == updates[won.index(True)].name
        assert await store.support("a", "me") == str(found.name).encode()

    with_store(scenario)


def test_one_key_makes_one_task(with_store: WithStore) -> None:
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
        assert same(await store.find_by_idempotency_key("me", once), answers[0])  # as it was first answered
        await store.delete(task_id, "me")
        assert await store.find_by_idempotency_key("me", once) is None
        assert (await store.add(record("anew"), idempotency=IdempotencyRecord("key", b"another"))).task_id == "anew"

    with_store(scenario)


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


def test_a_record_of_another_schema_is_named_not_misread() -> None:
    other = pack(record("a")).replace(b'"schema":1', b'"schema":7')
    with pytest.raises(StoreUnavailable, match="task a is a record of schema 7, this program's is 1"):
        unpack(other)


def test_a_five_way_task_is_small() -> None:
    assert len(pack(usual("a"))) < 2048


# -- SQLite alone ----------------------------------------------------------------------------


def with_sqlite(path: Path, scenario: Callable[[SQLiteStore], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        store = await SQLiteStore.open(path)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(whole())


def test_sqlite_sweeps_out_what_has_expired(path: Path) -> None:
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


def test_sqlite_writes_are_durable_by_setting(path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        def pragma(name: str) -> object:
            return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2  # FULL: past the operating system's cache

    with_sqlite(path, scenario)


def test_a_sqlite_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
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
    with pytest.raises(StoreUnavailable, match="cannot open"):
        asyncio.run(SQLiteStore.open(tmp_path / "file" / "tasks.sqlite3"))


def test_a_file_of_the_first_schema_is_taken_over(path: Path) -> None:
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
            assert same(await store.get(one.task_id, "me"), one)
        await store.add(record("later"))
        assert await ids(store) == ["later", "t2", "t1", "t0"]

    with_sqlite(path, scenario)


def test_sqlite_failures_while_running_are_of_one_kind(path: Path) -> None:
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
            await store.add(usual(secrets.token_hex(12)))

    sizes = []
    for _ in range(2):
        with_sqlite(path, scenario)
        sizes.append(path.stat().st_size)
    assert (sizes[1] - sizes[0]) / 300 < 2048  # bytes, indexes and page ends included


# -- Redis alone -----------------------------------------------------------------------------


def test_a_five_way_task_is_small_in_redis(redis: Redis, redis_server: RedisServer) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url)
        for n in range(200):
            await store.add(usual(str(n)))
        await store.close()

    asyncio.run(scenario())
    held = [redis.memory_usage(key, samples=0) for key in redis.scan_iter()]
    assert len(held) == 203  # the records; the owner's number, tasks and expiries
    assert sum(held) / 200 < 2400  # bytes, Redis' own overhead included


def test_redis_away_paused_and_back(tmp_path: Path) -> None:
    server = started(tmp_path)

    async def scenario() -> None:
        store = await RedisStore.open(server.url)
        await store.add(record("a"))

        async def fails() -> None:
            began = time.monotonic()
            for call in (store.get("a", "me"), store.add(record("b")), store.page("me", 5, None)):
                with pytest.raises(StoreUnavailable, match="Redis"):
                    await call
            assert time.monotonic() - began < 3

        server.send(signal.SIGSTOP)
        await fails()
        server.send(signal.SIGCONT)
        assert await store.get("a", "me") is not None
        server.kill()
        await fails()
        server.start()
        assert await store.get("a", "me") is not None  # on disk when it was acknowledged
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


def test_a_restart_of_redis_between_two_calls_costs_no_call(tmp_path: Path) -> None:
    server = started(tmp_path)

    async def scenario() -> None:
        store = await RedisStore.open(server.url)
        await store.add(record("a"))
        assert all(await asyncio.gather(*[store.get("a", "me") for _ in range(8)]))  # each on a connection of its own
        server.kill()
        await asyncio.to_thread(server.start)  # meanwhile the loop hears that the connections are closed
        # Reads and writes alike: every connection of the pool is dead.
        assert all(await asyncio.gather(*[store.get("a", "me") for _ in range(4)]))
        await asyncio.gather(*[store.add(record(name)) for name in "bcd"])
        assert await store.delete("b", "me")
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


def test_a_redis_that_is_away_or_not_durable_is_warned_of(
    redis: Redis, redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def opened(url: str) -> None:
        await (await RedisStore.open(url)).close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(opened(redis_server.url))
        assert caplog.text == ""
        redis.config_set("appendfsync", "everysec")
        try:
            asyncio.run(opened(redis_server.url))
        finally:
            redis.config_set("appendfsync", "always")
        assert "may lose acknowledged tasks" in caplog.text
        asyncio.run(opened(f"unix://{tmp_path}/nothing"))
        assert "cannot look at Redis yet" in caplog.text
    with pytest.raises(StoreUnavailable, match="LEO_STORE_URL"):
        asyncio.run(opened("postgres://localhost"))


# -- Redis Cluster alone ---------------------------------------------------------------------


def owners_by_node(nodes: RedisNodes) -> list[list[str]]:
    """Owners, the empty one too, by which node has their tasks."""
    found: list[list[str]] = []
    for node in nodes.nodes:
        with Redis.from_url(node.url) as client:
            names = {key.decode().split("{")[1].split("}")[0] for key in client.scan_iter()}
        found.append(sorted("" if name == "*" else name for name in names))
    return found


def test_owners_are_spread_over_a_cluster_each_whole_on_one_node(redis_nodes: RedisNodes) -> None:
    redis_nodes.empty()
    owners = ["", *(f"team-{n}" for n in range(12))]

    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.url)
        for owner in owners:
            once = IdempotencyRecord("key", b"digest")
            made = await store.add(record("a", owner=owner), support=b"x", idempotency=once, max_tasks=2)
            assert same(await store.add(record("b", owner=owner), idempotency=once), made)
            await store.add(record("c", owner=owner, expires_at=time.time() + 1000), max_tasks=2)
            with pytest.raises(TooManyTasks):
                await store.add(record("d", owner=owner), max_tasks=2)
            assert await ids(store, owner) == ["c", "a"]
            assert await store.delete("a", owner)
        await store.close()

    asyncio.run(scenario())
    found = owners_by_node(redis_nodes)
    assert sorted(chain(*found)) == sorted(owners)  # none of them on two
    assert all(found)


def test_a_node_that_dies_takes_only_its_own_owners_away_until_it_is_back(tmp_path: Path) -> None:
    nodes = started_cluster(tmp_path)
    owners = [f"team-{n}" for n in range(12)]

    async def scenario() -> None:
        store = await RedisStore.open(nodes.url)
        for owner in owners:
            await store.add(record("a", owner=owner))
        away, *others = owners_by_node(nodes)
        nodes.nodes[0].kill()
        for owner in away:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="Redis"):
                await store.get("a", owner)
            assert time.monotonic() - began < 3
        for owner in chain(*others):
            assert await store.get("a", owner) is not None
            assert await store.add(record("b", owner=owner))
        nodes.nodes[0].start()
        patience = time.monotonic() + 30
        for owner in away:
            while True:
                try:
                    assert await store.get("a", owner) is not None  # on disk when it was acknowledged
                    break
                except StoreUnavailable:
                    assert time.monotonic() < patience
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        nodes.kill()


def test_slots_that_move_to_another_node_are_followed(redis_nodes: RedisNodes) -> None:
    redis_nodes.empty()

    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.url)
        await store.add(record("a", owner="team-1"), support=b"x")
        _move(redis_nodes, "leo:{team-1}:tasks")
        assert await store.get("a", "team-1") is not None
        assert await store.update(record("a", owner="team-1"))
        assert await store.add(record("b", owner="team-1"))
        assert await ids(store, "team-1") == ["b", "a"]
        await store.close()

    asyncio.run(scenario())


def _move(nodes: RedisNodes, key: str) -> None:
    """The slot of a key, to the next node."""
    clients = [Redis.from_url(node.url) for node in nodes.nodes]
    slot = clients[0].execute_command("CLUSTER KEYSLOT", key)
    names = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    has = next(n for n, client in enumerate(clients) if client.execute_command("CLUSTER COUNTKEYSINSLOT", slot))
    to = (has + 1) % 3
    clients[to].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[has])
    clients[has].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[to])
    keys = clients[has].execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
    clients[has].execute_command("MIGRATE", "127.0.0.1", nodes.nodes[to].port, "", 0, 5000, "KEYS", *keys)
    for client in clients:
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[to])
        client.close()


def test_a_cluster_is_not_taken_for_a_single_redis(redis_nodes: RedisNodes) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.nodes[0].url)
        asked = (store.get("a", f"team-{n}") for n in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [str(answer) for answer in answers if answer is not None]  # whose owner is on another node
        assert refused
        assert all("must begin with redis+cluster://" in answer for answer in refused)
        await store.close()
        for nonsense in ("redis+cluster://127.0.0.1:1/5", "redis+cluster://127.0.0.1:x", "http+cluster://127.0.0.1"):
            with pytest.raises(StoreUnavailable, match="LEO_STORE_URL"):
                await RedisStore.open(nonsense)

    asyncio.run(scenario())


def test_a_cluster_that_is_away_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
        with pytest.raises(StoreUnavailable, match="Redis failed"):
            await store.add(record("a"))
        await store.close()

    asyncio.run(scenario())
    assert "cannot look at Redis yet" in caplog.text
