"""The shared task store: a Redis, or a Redis Cluster, that several replicas use.

Writes are durable only if Redis writes to disk before it answers: `appendonly yes`, `appendfsync always`.
The owner in braces is a hash tag: all of one owner's keys are in one slot of a cluster, so one script can use them.

    leo:{owner}:task:ID      the record, packed by `app.store.record`; Redis expires it
    leo:{owner}:support:ID   the payload stored with the task
    leo:{owner}:pictures:ID  hash of the pictures of the task's examples by their numbers
    leo:{owner}:bytes        sorted set of the ids of tasks with pictures, by the bytes of these
    leo:{owner}:once:KEY     hash of an Idempotency-Key: the `digest`, the `task`, and the `record` if it made that
    leo:{owner}:calls:ID     list of a task's Idempotency-Keys, the oldest first
    leo:{owner}:number       counter of created tasks
    leo:{owner}:tasks        sorted set of task ids by that number, for paging
    leo:{owner}:expiries     sorted set of task ids by expiry, for removing expired ones from `tasks`

The owner is empty if no keys are configured. Empty braces are not a hash tag, so in a cluster `*` takes its place; no
owner can have that name.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import MovedError, ReadOnlyError, RedisClusterException, RedisError

from app.store import (
    IDEMPOTENCY_SECONDS,
    MOST_CALLS,
    IdempotencyRecord,
    PictureChanges,
    StoredPage,
    TaskRecord,
    parse_cursor,
)
from app.store.errors import IdempotencyConflict, StoreUnavailable, TooManyPictures, TooManyTasks
from app.store.record import pack, unpack, unpack_page
from app.store.redis_errors import describe
from app.store.redis_scripts import ADD, COUNT, DELETE, PAGE, READ_WITH_SUPPORT, UPDATE
from app.store.redis_url import CALL_TIMEOUT, MAX_CONNECTIONS, client_for

log = logging.getLogger(__name__)

MOST_SECONDS_APART = 5.0  # that a clock may differ from Redis's without a warning
OVER = (
    "by Redis's clock the task's time was over before it was stored: set the clocks of this replica and of Redis, "
    "or ask for more ttl_seconds"
)


class RedisStore:
    """A `TaskStore` in a Redis or a Redis Cluster. Every call answers or fails within a second."""

    shared = True

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._redis = redis
        self._free_connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._no_owner = "*" if isinstance(redis, RedisCluster) else ""
        self._add, self._update, self._delete, self._count = map(redis.register_script, (ADD, UPDATE, DELETE, COUNT))
        self._read_with_support, self._page = map(redis.register_script, (READ_WITH_SUPPORT, PAGE))

    @classmethod
    async def open(cls, url: str) -> "RedisStore":
        """Open `redis://HOST:PORT/DB`, or `redis+cluster://HOST:PORT,HOST:PORT` with any nodes of the cluster.

        Raises `StoreUnavailable` for any other URL. A Redis that cannot be reached yet is only logged as a warning.
        """
        try:
            client = client_for(url)
        except (ValueError, RedisClusterException) as error:
            raise StoreUnavailable(f"LEO_STORE_URL cannot be used: {error}") from error
        store = cls(client)
        await store._look_for_what_loses_tasks()
        return store

    async def _look_for_what_loses_tasks(self) -> None:
        """Warn if Redis may lose tasks that it has acknowledged."""
        try:
            async with self._calling():
                times = await self._ask_all("TIME")
            for seconds, microseconds in times:
                difference = time.time() - seconds - microseconds / 1e6
                if abs(difference) > MOST_SECONDS_APART:
                    log.warning(
                        "the clock here and that of Redis are %.0f s apart: tasks expire by Redis's", difference
                    )
            async with self._calling():  # which some providers refuse
                settings = await self._ask_all("CONFIG GET", "append*")
                evictions = await self._ask_all("CONFIG GET", "maxmemory-policy")
        except StoreUnavailable as error:
            log.warning("cannot look at Redis yet: %s", error)
            return
        for answer in settings:
            found = {key: answer.get(key) for key in ("appendonly", "appendfsync")}
            if found != {"appendonly": "yes", "appendfsync": "always"}:
                log.warning("Redis runs with %s: it may lose acknowledged tasks when it dies", found)
        for answer in evictions:
            policy = answer.get("maxmemory-policy")
            if policy != "noeviction":
                log.warning(
                    "Redis runs with maxmemory-policy %s: it removes acknowledged tasks when its memory is full; "
                    "set it to noeviction",
                    policy,
                )

    async def _ask_all(self, *command: str) -> list[Any]:
        """The answer of a Redis, or of each primary of a cluster."""
        if isinstance(self._redis, RedisCluster):
            by_node = await self._redis.execute_command(*command, target_nodes=RedisCluster.PRIMARIES)
            return list(by_node.values())
        return [await self._execute(*command)]

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[asyncio.Timeout]:
        """Limit a call's time and connections, and turn every error of Redis into `StoreUnavailable`."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT) as deadline, self._free_connections:
                yield deadline
        except TimeoutError:
            raise StoreUnavailable(f"Redis did not answer within {CALL_TIMEOUT:g} s") from None
        except ReadOnlyError as error:
            # It is a replica now. Its address may lead to the new primary, so the next call connects anew.
            if isinstance(self._redis, Redis):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailable(f"Redis is a replica now: {describe(error)}") from error
        except MovedError as error:
            raise StoreUnavailable("Redis is a cluster: LEO_STORE_URL must begin with redis+cluster://") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailable(f"Redis failed: {describe(error)}") from error
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            # What comes next on the connections may answer other calls, so none of them is used again.
            if isinstance(self._redis, Redis):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailable(
                f"what answers at LEO_STORE_URL does not speak as Redis does ({type(error).__name__})"
            ) from error

    async def _execute(self, *command: str | int) -> Any:
        # Any, since redis-py's own type lists the answers of all its modes. Here strings are bytes.
        return await self._redis.execute_command(*command)

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
        pictures: PictureChanges | None = None,
    ) -> TaskRecord:
        arguments = self._script_arguments(record, support, idempotency, pictures)
        async with self._calling():
            outcome, *first = await self._add(
                keys=[self._prefix(record.owner)],
                args=[*arguments, "" if max_tasks is None else max_tasks, _lives(record)],
            )
            if outcome not in (b"added", b"made", b"full", b"no room", b"over"):
                raise ValueError("an answer that the script does not give")  # nothing is acknowledged
        if outcome == b"full":
            raise TooManyTasks
        if outcome == b"no room":
            raise TooManyPictures
        if outcome == b"over":
            raise StoreUnavailable(OVER)
        return _answer_again(first, b"", idempotency) if outcome == b"made" and idempotency else record

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        async with self._calling():
            once_key = f"{self._prefix(owner)}once:{idempotency.key}"
            first = await self._execute("HMGET", once_key, "task", "digest", "record")
            now = first[0] and await self._execute("GET", f"{self._prefix(owner)}task:{first[0].decode()}")
            return _answer_again(first, now, idempotency) if now else None

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        async with self._calling():
            packed = await self._execute("GET", f"{self._prefix(owner)}task:{task_id}")
            return unpack(packed, task_id) if packed is not None else None

    async def with_support(self, task_id: str, owner: str) -> tuple[TaskRecord, bytes | None] | None:
        prefix = self._prefix(owner)
        async with self._calling():
            packed, payload = await self._read_with_support(keys=[prefix], args=[prefix, task_id])
            return (unpack(packed, task_id), payload) if packed is not None else None

    async def pictures(self, task_id: str, owner: str, number: int | None = None) -> dict[int, bytes]:
        key = f"{self._prefix(owner)}pictures:{task_id}"
        async with self._calling():
            if number is not None:
                picture = await self._execute("HGET", key, number)
                return {} if picture is None else {number: picture}
            found = await self._execute("HGETALL", key)
            return {number: found[field] for number, field in sorted((int(field), field) for field in found)}

    async def update(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        pictures: PictureChanges | None = None,
    ) -> bool:
        updated = replace(record, revision=record.revision + 1)
        arguments = self._script_arguments(updated, support, idempotency, pictures)
        async with self._calling():
            outcome = await self._update(
                keys=[self._prefix(record.owner)], args=[*arguments, record.revision, _lives(record)]
            )
        if outcome == b"no room":
            raise TooManyPictures
        if outcome == b"over":
            raise StoreUnavailable(OVER)
        if outcome == b"conflict":
            raise IdempotencyConflict
        return bool(outcome == b"updated")

    async def delete(self, task_id: str, owner: str, revision: int | None = None) -> bool:
        prefix = self._prefix(owner)
        async with self._calling():
            only = [] if revision is None else [revision]
            removed = await self._delete(keys=[prefix], args=[prefix, task_id, *only])
            if removed not in (0, 1):
                raise ValueError("an answer that the script does not give")  # nothing is acknowledged
            return bool(removed)

    async def page(self, owner: str, limit: int, cursor: str | None) -> StoredPage:
        prefix, begin = self._prefix(owner), f"({parse_cursor(cursor)}"
        found: list[tuple[str, bytes, int]] = []  # ids, records and numbers
        async with self._calling() as deadline:
            while len(found) <= limit and begin:
                begin, listed = await self._page(keys=[prefix], args=[prefix, begin, limit + 1 - len(found)])
                found += [(task_id.decode(), packed, int(number)) for task_id, packed, number in listed]
                if deadline.expired():  # redis-py may swallow the cancellation by which it is told
                    raise TimeoutError
            following = str(found[limit - 1][2]) if len(found) > limit else None
            return unpack_page([(task_id, packed) for task_id, packed, _ in found[:limit]], following)

    async def count(self, owner: str) -> int:
        prefix = self._prefix(owner)
        async with self._calling():
            return int(await self._count(keys=[prefix], args=[prefix, int(1000 * time.time())]))

    def reason_lost(self) -> str | None:
        return None  # its operator sees to it, and it comes back by itself

    async def close(self) -> None:
        await self._redis.aclose()

    def _prefix(self, owner: str) -> str:
        return f"leo:{{{owner or self._no_owner}}}:"

    def _script_arguments(
        self,
        record: TaskRecord,
        support: bytes | None,
        idempotency: IdempotencyRecord | None,
        pictures: PictureChanges | None,
    ) -> list[str | bytes | int]:
        """The ARGV that `ADD` and `UPDATE` begin with."""
        payload: list[str | bytes | int] = ["0", b""] if support is None else ["1", support]
        # Redis accepts no time before 1970; any time that is over means the same.
        expires = "" if record.expires_at is None else str(max(1, int(1000 * record.expires_at)))
        changes = pictures or PictureChanges({}, 0)
        added = [part for each in changes.added.items() for part in each]
        removed = "" if changes.removed is None else changes.removed
        changed = [changes.max_bytes, removed, len(changes.added), *added]
        once: list[str | bytes | int] = ["", "", "", ""]
        if idempotency:
            once = [idempotency.digest, idempotency.key, IDEMPOTENCY_SECONDS, MOST_CALLS]
        return [self._prefix(record.owner), record.task_id, pack(record), *payload, expires, *changed, *once]


def _lives(record: TaskRecord) -> int:
    """1 if by the clock here a task's time is not over."""
    return int(record.expires_at is None or record.expires_at > time.time())


def _answer_again(first: list[bytes], now: bytes, idempotency: IdempotencyRecord) -> TaskRecord:
    """Return the first answer to a call with an Idempotency-Key: the one that was kept, or its task's record `now`.

    Raises `IdempotencyConflict` if the request was different.
    """
    task_id, digest, packed = first
    if digest != idempotency.digest:
        raise IdempotencyConflict
    return unpack(packed or now, task_id.decode())
