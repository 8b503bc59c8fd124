"""What the Redis store promises of a cluster: an owner's tasks are on one node, and nodes may move, die and return."""

import asyncio
import time
from itertools import chain
from pathlib import Path

import pytest
from redis import Redis

from app.store import IdempotencyRecord, TaskRecord
from app.store.errors import StoreUnavailable, TooManyTasks
from app.store.redis import RedisStore
from tests.helpers.ports import free_port
from tests.helpers.records import assert_same, ids, record
from tests.helpers.redis_server import CALL_DEADLINE, RedisNodes, started_cluster


def owners_by_node(nodes: RedisNodes) -> list[list[str]]:
    """Return, for each node, the owners whose tasks it has. The owner without a name is ""."""
    found: list[list[str]] = []
    for node in nodes.nodes:
        with Redis.from_url(node.url) as client:
            names = {key.decode().split("{")[1].split("}")[0] for key in client.scan_iter()}
        found.append(sorted("" if name == "*" else name for name in names))
    return found


def test_owners_are_spread_over_the_nodes_and_each_is_whole_on_one(redis_nodes: RedisNodes) -> None:
    owners = ["", *(f"team-{n}" for n in range(12))]

    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.url)
        for owner in owners:
            once = IdempotencyRecord("key", b"digest")
            made = await store.add(record("a", owner=owner), support=b"x", idempotency=once, max_tasks=2)
            assert_same(await store.add(record("b", owner=owner), idempotency=once), made)
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


async def get_when_available(store: RedisStore, owner: str) -> TaskRecord | None:
    """Return the owner's task "a", asking until the store answers."""
    while True:
        try:
            return await store.get("a", owner)
        except StoreUnavailable:
            await asyncio.sleep(0.05)


def test_a_dead_node_stops_only_its_own_owners_and_only_until_it_is_back(tmp_path: Path) -> None:
    nodes = started_cluster(tmp_path)
    owners = [f"team-{n}" for n in range(12)]

    async def scenario() -> None:
        store = await RedisStore.open(nodes.url)
        for owner in owners:
            await store.add(record("a", owner=owner))
        away, *others = owners_by_node(nodes)
        assert away
        assert all(others)
        nodes.nodes[0].kill()
        for owner in away:
            async with asyncio.timeout(CALL_DEADLINE):
                with pytest.raises(StoreUnavailable, match="Redis"):
                    await store.get("a", owner)
        for owner in chain(*others):
            assert await store.get("a", owner) is not None
            assert await store.add(record("b", owner=owner))
        nodes.nodes[0].start()
        async with asyncio.timeout(30):
            for owner in away:
                assert await get_when_available(store, owner) is not None  # on disk when it was acknowledged
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        nodes.kill()


def move_slot(nodes: RedisNodes, key: str) -> None:
    """Move the slot of a key to the next node."""
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


def test_slots_that_move_to_another_node_are_followed(redis_nodes: RedisNodes) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.url)
        await store.add(record("a", owner="team-1"), support=b"x")
        move_slot(redis_nodes, "leo:{team-1}:tasks")
        assert await store.get("a", "team-1") is not None
        assert await store.update(record("a", owner="team-1"))
        assert await store.add(record("b", owner="team-1"))
        assert await ids(store, "team-1") == ["b", "a"]
        await store.close()

    asyncio.run(scenario())


def test_a_redis_url_of_a_cluster_is_refused_with_the_right_one(redis_nodes: RedisNodes) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_nodes.nodes[0].url)
        asked = (store.get("a", f"team-{n}") for n in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [str(answer) for answer in answers if answer is not None]  # those whose owner is on another node
        assert refused
        assert all("must begin with redis+cluster://" in answer for answer in refused)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url", ["redis+cluster://127.0.0.1:1/5", "redis+cluster://127.0.0.1:x", "http+cluster://127.0.0.1"]
)
def test_a_url_that_is_no_clusters_is_refused(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="LEO_STORE_URL"):
        asyncio.run(RedisStore.open(url))


def test_a_cluster_that_does_not_answer_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
        with pytest.raises(StoreUnavailable, match="Redis failed"):
            await store.add(record("a"))
        await store.close()

    asyncio.run(scenario())
    assert "cannot look at Redis yet" in caplog.text
