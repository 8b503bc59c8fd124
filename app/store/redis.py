"""The shared task store: a Redis, or a Redis Cluster, that several replicas use.

Durable only if Redis writes through to disk before it answers: `appendonly yes`, `appendfsync always`.
Keys, in their owner's braces, so that no two owners' can meet and all of one owner's are in one slot of a cluster:

    leo:{owner}:task:ID      record, as of `app.store.record`; Redis itself lets it expire
    leo:{owner}:support:ID   the payload beside it
    leo:{owner}:once:KEY     hash of `digest`, `task` and the `record` first answered under an Idempotency-Key
    leo:{owner}:number       counts creations
    leo:{owner}:tasks        sorted set of ids by that number, for paging
    leo:{owner}:expiries     sorted set of ids by when they expire, to keep `tasks` clean

Without keys the owner is empty. Empty braces are no hash tag, so in a cluster it is called `*`, as no owner can be.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.store import (
    IDEMPOTENCY_SECONDS,
    IdempotencyConflict,
    IdempotencyRecord,
    StoreUnavailable,
    TaskRecord,
    TooManyTasks,
    parse_cursor,
)
from app.store.record import pack, unpack

log = logging.getLogger(__name__)

WITHIN = 0.8  # seconds a call may take, connecting and waiting for a connection included
CONNECTIONS = 64  # to Redis, or to each node of a cluster

# Each script runs whole, with nothing between its lines. KEYS only tells a cluster where: all of an owner's keys
# are in one place. ARGV of both: the owner's prefix, id, record,
# '1' and payload or '0' and nothing, milliseconds since 1970 when it expires or ''.
WRITE = """
local prefix, id, record, has_payload, payload, expires = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local task, support = prefix .. 'task:' .. id, prefix .. 'support:' .. id
local tasks, expiries = prefix .. 'tasks', prefix .. 'expiries'
local function write()
    redis.call('SET', task, record)
    if has_payload == '1' then redis.call('SET', support, payload) end
    if expires == '' then
        redis.call('PERSIST', support)
        redis.call('ZREM', expiries, id)
    else
        redis.call('PEXPIREAT', task, expires)
        redis.call('PEXPIREAT', support, expires)
        redis.call('ZADD', expiries, expires, id)
    end
end
"""
# ARGV further: the Idempotency-Key's digest or '', its key, the seconds it is remembered; most tasks or ''.
ADD = (
    WRITE
    + """
local digest, once, remembered, most = ARGV[7], prefix .. 'once:' .. ARGV[8], ARGV[9], ARGV[10]
local time = redis.call('TIME')
local gone = redis.call('ZRANGEBYSCORE', expiries, '-inf', time[1] * 1000 + time[2] / 1000, 'LIMIT', 0, 1000)
if #gone > 0 then
    redis.call('ZREM', expiries, unpack(gone))
    redis.call('ZREM', tasks, unpack(gone))
end
if digest ~= '' then
    local first = redis.call('HMGET', once, 'task', 'digest', 'record')
    if first[1] and redis.call('EXISTS', prefix .. 'task:' .. first[1]) == 1 then
        return {'made', first[2], first[3]}
    end
end
if most ~= '' and redis.call('ZCARD', tasks) >= tonumber(most) then return {'full'} end
redis.call('ZADD', tasks, redis.call('INCR', prefix .. 'number'), id)
write()
if digest ~= '' then
    redis.call('HSET', once, 'task', id, 'digest', digest, 'record', record)
    redis.call('EXPIRE', once, remembered)
end
return {'added'}
"""
)
# ARGV further: the revision that is to be replaced.
UPDATE = (
    WRITE
    + """
local stored = redis.call('GET', task)
if not stored then return 0 end
if cjson.decode(string.match(stored, '^[^\\n]*')).revision ~= tonumber(ARGV[7]) then return 0 end
write()
return 1
"""
)


class RedisStore:
    """`TaskStore` in a Redis or a Redis Cluster. Every call answers or fails within a second, whatever they do."""

    shared = True

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._redis = redis
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._no_owner = "*" if isinstance(redis, RedisCluster) else ""
        self._add, self._update = redis.register_script(ADD), redis.register_script(UPDATE)

    @classmethod
    async def open(cls, url: str) -> "RedisStore":
        """`redis://HOST:PORT/DB`, or `redis+cluster://HOST:PORT,HOST:PORT` with any of the cluster's nodes.

        Raises `StoreUnavailable` for a URL that is neither. A Redis that is away may come: it is only warned of.
        """
        try:
            client = _client(url)
        except (ValueError, RedisClusterException) as error:
            raise StoreUnavailable(f"LEO_STORE_URL is not a redis:// or redis+cluster:// address: {error}") from error
        store = cls(client)
        await store._look_at_durability()
        return store

    async def _look_at_durability(self) -> None:
        asked = ("CONFIG GET", "append*")
        try:
            async with self._within():
                if isinstance(self._redis, RedisCluster):
                    every = await self._redis.execute_command(*asked, target_nodes=RedisCluster.PRIMARIES)
                    answers = list(every.values())
                else:
                    answers = [await self._ask(*asked)]
        except StoreUnavailable as error:
            log.warning("cannot look at Redis yet: %s", error)
            return
        for settings in answers:
            found = {key: settings.get(key) for key in ("appendonly", "appendfsync")}
            if found != {"appendonly": "yes", "appendfsync": "always"}:
                log.warning("Redis runs with %s: it may lose acknowledged tasks when it dies", found)

    @asynccontextmanager
    async def _within(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WITHIN), self._room:
                yield
        except TimeoutError:
            raise StoreUnavailable(f"Redis did not answer within {WITHIN:g} s") from None
        except MovedError as error:
            raise StoreUnavailable("Redis is a cluster: LEO_STORE_URL must begin with redis+cluster://") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailable(f"Redis failed: {error}") from error

    async def _ask(self, *command: str | int) -> Any:
        # redis-py types what a command may answer in all its modes; here strings are bytes.
        return await self._redis.execute_command(*command)

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        replay = [idempotency.digest, idempotency.key, IDEMPOTENCY_SECONDS] if idempotency else ["", "", ""]
        async with self._within():
            what, *first = await self._add(
                keys=[self._prefix(record.owner)],
                args=[*self._written(record, support), *replay, "" if max_tasks is None else max_tasks],
            )
        if what == b"full":
            raise TooManyTasks
        return _same(first, idempotency) if what == b"made" and idempotency else record

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        async with self._within():
            once_key = f"{self._prefix(owner)}once:{idempotency.key}"
            task_id, *first = await self._ask("HMGET", once_key, "task", "digest", "record")
            if task_id is None or not await self._ask("EXISTS", f"{self._prefix(owner)}task:{task_id.decode()}"):
                return None
        return _same(first, idempotency)

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        async with self._within():
            packed = await self._ask("GET", f"{self._prefix(owner)}task:{task_id}")
        return unpack(packed) if packed is not None else None

    async def support(self, task_id: str, owner: str) -> bytes | None:
        async with self._within():
            payload: bytes | None = await self._ask("GET", f"{self._prefix(owner)}support:{task_id}")
        return payload

    async def update(self, record: TaskRecord, *, support: bytes | None = None) -> bool:
        further = replace(record, revision=record.revision + 1)
        async with self._within():
            return bool(
                await self._update(
                    keys=[self._prefix(record.owner)], args=[*self._written(further, support), record.revision]
                )
            )

    async def delete(self, task_id: str, owner: str) -> bool:
        prefix = self._prefix(owner)
        async with self._within(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(f"{prefix}task:{task_id}")
            pipeline.delete(f"{prefix}support:{task_id}")
            pipeline.zrem(f"{prefix}tasks", task_id)
            pipeline.zrem(f"{prefix}expiries", task_id)
            deleted, *_ = await pipeline.execute()
        return bool(deleted)

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        prefix, before = self._prefix(owner), parse_cursor(cursor)
        found: list[tuple[bytes, int]] = []  # records and their numbers
        async with self._within():
            while len(found) <= limit:
                newest_first = ("ZREVRANGEBYSCORE", f"{prefix}tasks", f"({before}", "-inf")
                ids = await self._ask(*newest_first, "WITHSCORES", "LIMIT", 0, limit + 1)
                if not ids:
                    break
                records = await self._ask("MGET", *(f"{prefix}task:{task_id.decode()}" for task_id, _ in ids))
                # Those that expired meanwhile are missing, so the next ones must fill the page.
                found += [(packed, int(n)) for packed, (_, n) in zip(records, ids, strict=True) if packed is not None]
                before = int(ids[-1][1])
        following = str(found[limit - 1][1]) if len(found) > limit else None
        return [unpack(packed) for packed, _ in found[:limit]], following

    async def count(self, owner: str) -> int:
        prefix = self._prefix(owner)
        async with self._within(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zcard(f"{prefix}tasks")
            pipeline.zcount(f"{prefix}expiries", "-inf", 1000 * time.time())  # gone, though `tasks` still has them
            made, gone = await pipeline.execute()
        return int(made - gone)

    async def close(self) -> None:
        await self._redis.aclose()

    def _prefix(self, owner: str) -> str:
        return f"leo:{{{owner or self._no_owner}}}:"

    def _written(self, record: TaskRecord, support: bytes | None) -> list[str | bytes]:
        """The arguments that both scripts begin with."""
        payload: list[str | bytes] = ["0", b""] if support is None else ["1", support]
        # A time before 1970 has no place in Redis, and any past one means the same.
        expires = "" if record.expires_at is None else str(max(1, int(1000 * record.expires_at)))
        return [self._prefix(record.owner), record.task_id, pack(record), *payload, expires]


def _client(url: str) -> Redis | RedisCluster:
    """Not connected yet. Raises `ValueError`, or `RedisClusterException` for what only a single Redis can do."""
    options: dict[str, Any] = {
        "socket_connect_timeout": WITHIN,
        "socket_timeout": WITHIN,
        # A write that may have happened is not sent twice: the caller decides.
        "retry": Retry(NoBackoff(), 0),
        # While redis-py listens for these notices, it no longer looks whether a connection from its pool was closed
        # meanwhile, as a restart does: the call would fail. Otherwise it connects anew before anything is sent.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "max_connections": CONNECTIONS,
    }
    scheme, separator, rest = url.partition("+cluster://")
    if not separator:
        return Redis.from_url(url, **options)
    before, at, hosts = rest.rpartition("@")
    nodes = []
    for host in hosts.split(","):
        address: dict[str, Any] = {**parse_url(f"{scheme}://{before}{at}{host}")}
        nodes.append(ClusterNode(address.pop("host", "localhost"), address.pop("port", 6379)))
        options["ssl"] = address.pop("connection_class", None) is not None  # as parse_url says of rediss://
        options |= address
    # The slots of a node that is away are away; the others' tasks go on.
    return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)


def _same(first: list[bytes], idempotency: IdempotencyRecord) -> TaskRecord:
    digest, packed = first
    if digest != idempotency.digest:
        raise IdempotencyConflict
    return unpack(packed)
