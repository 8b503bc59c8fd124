"""What the Redis store promises beside the contract: small, and an answer whatever Redis does."""

import asyncio
import contextlib
import logging
import re
import signal
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from redis import Redis

from app.settings import PROJECT
from app.store.errors import StoreUnavailable, UnreadableRecord
from app.store.redis import RedisStore
from tests.helpers.ports import free_port
from tests.helpers.records import five_way_record, ids, record
from tests.helpers.redis_server import CALL_DEADLINE, RedisServer, started
from tests.helpers.relay import Relay


def test_a_five_way_task_is_small_in_redis(redis: Redis, redis_server: RedisServer) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url)
        for n in range(200):
            await store.add(five_way_record(str(n)))
        await store.close()

    asyncio.run(scenario())
    held = [redis.memory_usage(key, samples=0) for key in redis.scan_iter()]
    assert len(held) == 203  # the records; the owner's number, tasks and expiries
    assert sum(held) / 200 < 2400  # bytes, Redis' own overhead included


def test_a_key_of_another_type_hides_no_task_and_no_examples(redis: Redis, redis_server: RedisServer) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url)
        for task_id in ("good", "spoilt", "better"):
            await store.add(record(task_id), support=b"examples")
        redis.rename("leo:{me}:support:good", "saved")
        redis.hset("leo:{me}:support:good", "a", "b")
        with pytest.raises(StoreUnavailable, match=r"WRONGTYPE.*begins with leo:"):
            await store.with_support("good", "me")
        redis.rename("saved", "leo:{me}:support:good")
        assert await store.with_support("good", "me")

        redis.delete("leo:{me}:task:spoilt")
        redis.hset("leo:{me}:task:spoilt", "a", "b")
        for reading in (store.get, store.with_support):
            with pytest.raises(StoreUnavailable, match=r"WRONGTYPE.*begins with leo:"):
                await reading("spoilt", "me")
        page = await store.page("me", 10, None)
        assert ([each.task_id for each in page.records], list(page.unreadable)) == (["better", "good"], ["spoilt"])
        assert await store.delete("spoilt", "me")
        assert await ids(store) == ["better", "good"]
        await store.close()

    asyncio.run(scenario())


def test_a_user_of_the_documented_rights_suffices_and_one_of_fewer_is_told_them(
    redis: Redis, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    documented = re.search(
        r"`ACL SETUSER leo on >PASSWORD (.+)`, and", (PROJECT / "docs" / "operations.md").read_text()
    )
    assert documented
    redis.execute_command("ACL", "SETUSER", "leo", "on", ">secret", *documented[1].split())

    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url.replace("//", "//leo:secret@"))
        await store.add(record("a"), support=b"examples")
        assert await ids(store) == ["a"]
        assert await store.with_support("a", "me")
        assert await store.count("me") == 1
        redis.execute_command("ACL", "SETUSER", "leo", "-time")
        with pytest.raises(StoreUnavailable, match=r"allow this user .* ~leo:\* \+@all"):
            await store.add(record("b"))
        assert await store.delete("a", "me")
        await store.close()

    asyncio.run(scenario())
    assert not caplog.messages


async def assert_unavailable(*calls: Awaitable[object]) -> None:
    """Check that each call fails, and soon, as every method of a store promises."""
    for call in calls:
        async with asyncio.timeout(CALL_DEADLINE):
            with pytest.raises(StoreUnavailable, match="Redis"):
                await call


def test_while_redis_is_paused_or_dead_calls_fail_and_afterwards_nothing_is_lost(tmp_path: Path) -> None:
    server = started(tmp_path)

    async def scenario() -> None:
        store = await RedisStore.open(server.url)
        await store.add(record("a"))

        async def all_fail() -> None:
            await assert_unavailable(store.get("a", "me"), store.add(record("b")), store.page("me", 5, None))

        server.send(signal.SIGSTOP)
        await all_fail()
        server.send(signal.SIGCONT)
        assert await store.get("a", "me") is not None
        server.kill()
        await all_fail()
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


def test_a_redis_that_does_not_answer_or_is_not_durable_is_a_warning(
    redis: Redis,
    redis_server: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
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
        redis.config_set("maxmemory-policy", "volatile-lru")
        try:
            asyncio.run(opened(redis_server.url))
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
        assert "maxmemory-policy volatile-lru: it removes acknowledged tasks" in caplog.text
        now = time.time
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + 3600)
            asyncio.run(opened(redis_server.url))
        assert "the clock here and that of Redis are 3600 s apart" in caplog.text
        asyncio.run(opened(f"unix://{tmp_path}/nothing"))
        assert "cannot look at Redis yet" in caplog.text


def test_a_list_passes_over_many_expired_tasks_at_once(redis: Redis, redis_server: RedisServer) -> None:
    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url)
        await store.add(record("oldest"))
        redis.zadd("leo:{me}:tasks", {f"expired{n}": n + 2 for n in range(12_000)})
        redis.set("leo:{me}:number", 20_000)
        await store.add(record("newest"))
        redis.config_resetstat()
        first = await store.page("me", 1, None)
        second = await store.page("me", 1, first.next_cursor)
        assert [task.task_id for task in first.records + second.records] == ["newest", "oldest"]
        assert second.next_cursor is None
        await store.close()

    asyncio.run(scenario())
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] <= 6


def test_a_task_whose_time_is_over_by_the_clock_of_redis_is_not_acknowledged(
    redis: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the clock of this replica is behind: Redis would delete the task in the moment in which it gets it."""

    async def scenario() -> None:
        store = await RedisStore.open(redis_server.url)
        made = await store.add(record("kept"))
        soon = time.time() - 3600 + 60
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: soon - 60)
            with pytest.raises(StoreUnavailable, match="set the clocks of this replica and of Redis"):
                await store.add(record("late", expires_at=soon))
            with pytest.raises(StoreUnavailable, match="set the clocks of this replica and of Redis"):
                await store.update(replace(made, expires_at=soon))
        assert await ids(store) == ["kept"]
        kept = await store.get("kept", "me")
        assert kept is not None
        assert (kept.revision, kept.expires_at) == (made.revision, made.expires_at)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://localhost", "begin it with redis://"),
        ("sqlite:///x", "begin it with redis://"),
        ("\u00e9", "begin it with redis://"),
        ("redis://localhost/abc", "database is a number"),
        ("redis://localhost/1x", "database is a number"),
        ("redis://localhost/-1", "database is a number"),
        ("redis://localhost/0/1", "database is a number"),
        ("redis://localhost/0?db=-1", "option db"),
        ("redis://localhost/0?db=1&db=2", "option db"),
        ("redis://localhost/0?nonsense=1", "none called nonsense"),
        ("redis://localhost/0?decode_responses=True", "none called decode_responses"),
        ("redis://localhost/0?encoding=utf-16", "none called encoding"),
        ("redis://localhost/0?protocol=9", "none called protocol"),
        ("redis://localhost/0?socket_timeout=abc", "option socket_timeout"),
        ("redis://localhost/0?ssl_cert_reqs=maybe", "option ssl_cert_reqs"),
        ("redis://localhost:70000/0", "port"),
        ("redis://:SECRET/word@localhost:6379/0", "%2F"),
        ("redis://:pass/SECRET@localhost:6379/0", "%2F"),
        ("redis://:1/SECRET@localhost:6379/0", "%2F"),
        ("redis://:1?SECRET@localhost:6379/0", "%3F"),
        ("redis://:1#SECRET@localhost:6379/0", "%23"),
        ("redis+cluster://localhost:1,localhost:2/0?nonsense=1", "none called nonsense"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, says: str) -> None:
    with pytest.raises(StoreUnavailable, match=re.escape(says)) as caught:
        asyncio.run(RedisStore.open(url))
    assert str(caught.value).startswith("LEO_STORE_URL cannot be used: ")
    assert "SECRET" not in str(caught.value)


NONSENSE = [b"!!garbage\r\n", b"*1\r\n" * 50_000, b":" + b"9" * 32 + b"\r\n", b":7\r\n", b"$-1\r\n" * 3, b"+OK\r\n"]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=range(len(NONSENSE)))
def test_what_does_not_speak_as_redis_does_is_unavailable(nonsense: bytes) -> None:
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                writer.write(nonsense)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = await RedisStore.open(f"redis://127.0.0.1:{port}")
        try:
            calls = store.page("me", 5, None), store.with_support("a", "me"), store.pictures("a", "me")
            for change in (store.add(record("b")), store.delete("a", "me")):
                with pytest.raises(StoreUnavailable):
                    await change
            for call in (*calls, store.get("a", "me")):
                async with asyncio.timeout(CALL_DEADLINE):
                    with contextlib.suppress(StoreUnavailable, UnreadableRecord):
                        assert not await call  # an answer of nothing is what Redis gives too
        finally:
            await store.close()
            server.close()

    asyncio.run(scenario())


def test_after_a_failover_the_address_is_asked_anew(tmp_path: Path) -> None:
    """The old primary has become a replica that still answers; its address leads to the new primary."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = started(tmp_path / "old"), started(tmp_path / "new")

    async def scenario() -> None:
        async with Relay(old.port) as relay:
            store = await RedisStore.open(relay.url)
            await asyncio.gather(*[store.add(record(f"t{n}")) for n in range(8)])  # each on a connection of its own
            with Redis.from_url(old.url) as client:
                client.replicaof("127.0.0.1", new.port)
            relay.port = new.port
            with pytest.raises(StoreUnavailable, match="Redis is a replica now"):
                await store.add(record("a"))
            await asyncio.gather(*[store.add(record(f"new{n}")) for n in range(8)])
            await store.close()

    try:
        asyncio.run(scenario())
        with Redis.from_url(new.url) as client:
            assert client.zcard("leo:{me}:tasks") == 8
    finally:
        old.kill()
        new.kill()


def test_a_certificate_that_cannot_be_checked_is_told_with_the_option_that_helps(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    port, files = free_port(), ("cert", "key", "ca-cert")
    options = [part for name in files for part in (f"--tls-{name}-file", f"{tmp_path}/{name.split('-')[0]}.pem")]
    server = RedisServer(tmp_path, "--tls-port", str(port), "--tls-auth-clients", "no", *options)

    async def count(query: str, host: str = "localhost") -> int:
        store = await RedisStore.open(f"rediss://{host}:{port}/0{query}")
        try:
            return await store.count("me")
        finally:
            await store.close()

    server.start()
    try:
        assert asyncio.run(count(f"?ssl_ca_certs={tmp_path}/ca.pem")) == 0
        for query, host in (("", "localhost"), (f"?ssl_ca_certs={tmp_path}/ca.pem", "127.0.0.1")):
            with pytest.raises(StoreUnavailable, match=r"name the host as its certificate does.*\?ssl_ca_certs=FILE"):
                asyncio.run(count(query, host))
        with pytest.raises(StoreUnavailable, match="ssl_ca_certs, is not there"):
            asyncio.run(count(f"?ssl_ca_certs={tmp_path}/none.pem"))
    finally:
        server.kill()


def test_a_full_redis_deletes_lists_and_counts(tmp_path: Path) -> None:
    server = started(tmp_path)

    async def scenario() -> None:
        store = await RedisStore.open(server.url)
        for name in "abc":
            await store.add(record(name), support=b"x" * 1000)
        with Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.add(record("d"))
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.update(record("a", name="new"))
        assert await ids(store) == ["c", "b", "a"]
        assert await store.delete("b", "me")
        assert not await store.delete("b", "me")
        assert await store.count("me") == 2
        assert await ids(store) == ["c", "a"]  # what was refused has left nothing behind
        await store.close()

    try:
        asyncio.run(scenario())
        with Redis.from_url(server.url) as client:
            assert not client.exists("leo:{me}:support:b")
    finally:
        server.kill()
