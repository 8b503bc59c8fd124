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
from app.store.redis_scripts import ADD, COUNT, DELETE, READ_SEVERAL, READ_WITH_SUPPORT, UPDATE
from app.store.redis_url import CALL_TIMEOUT, MAX_CONNECTIONS, client_for

log = logging.getLogger(__name__)


class RedisStore:
    """A `TaskStore` in a Redis or a Redis Cluster. Every call answers or fails within a second."""

    shared = True

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._redis = redis
        self._free_connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._no_owner = "*" if isinstance(redis, RedisCluster) else ""
        self._add, self._update, self._delete, self._count = map(redis.register_script, (ADD, UPDATE, DELETE, COUNT))
        self._read_with_support, self._read_several = map(redis.register_script, (READ_WITH_SUPPORT, READ_SEVERAL))

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
        await store._check_durability()
        return store

    async def _check_durability(self) -> None:
        """Warn if Redis may lose tasks that it has acknowledged."""
        command = ("CONFIG GET", "append*")
        try:
            async with self._calling():
                if isinstance(self._redis, RedisCluster):
                    by_node = await self._redis.execute_command(*command, target_nodes=RedisCluster.PRIMARIES)
                    answers = list(by_node.values())
                else:
                    answers = [await self._execute(*command)]
                every = [{key: answer.get(key) for key in ("appendonly", "appendfsync")} for answer in answers]
        except StoreUnavailable as error:
            log.warning("cannot look at Redis yet: %s", error)
            return
        for found in every:
            if found != {"appendonly": "yes", "appendfsync": "always"}:
                log.warning("Redis runs with %s: it may lose acknowledged tasks when it dies", found)

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        """Limit a call's time and connections, and turn every error of Redis into `StoreUnavailable`."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT), self._free_connections:
                yield
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
                keys=[self._prefix(record.owner)], args=[*arguments, "" if max_tasks is None else max_tasks]
            )
            if outcome not in (b"added", b"made", b"full", b"no room"):
                raise ValueError("an answer that the script does not give")  # nothing is acknowledged
        if outcome == b"full":
            raise TooManyTasks
        if outcome == b"no room":
            raise TooManyPictures
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
            outcome = await self._update(keys=[self._prefix(record.owner)], args=[*arguments, record.revision])
        if outcome == b"no room":
            raise TooManyPictures
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
        prefix, before = self._prefix(owner), parse_cursor(cursor)
        found: list[tuple[str, bytes, int]] = []  # ids, records and numbers
        async with self._calling():
            while len(found) <= limit:
                newest_first = ("ZREVRANGEBYSCORE", f"{prefix}tasks", f"({before}", "-inf")
                listed = await self._execute(*newest_first, "WITHSCORES", "LIMIT", 0, limit + 1)
                if not listed:
                    break
                ids = [task_id.decode() for task_id, _ in listed]
                records = await self._read_several(keys=[prefix], args=[prefix, *ids])
                # Expired tasks are missing here, so read on until the page is full.
                found += [
                    (task_id, packed, int(number))
                    for task_id, packed, (_, number) in zip(ids, records, listed, strict=True)
                    if packed is not None
                ]
                before = int(listed[-1][1])
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


def _answer_again(first: list[bytes], now: bytes, idempotency: IdempotencyRecord) -> TaskRecord:
    """Return the first answer to a call with an Idempotency-Key: the one that was kept, or its task's record `now`.

    Raises `IdempotencyConflict` if the request was different.
    """
    task_id, digest, packed = first
    if digest != idempotency.digest:
        raise IdempotencyConflict
    return unpack(packed or now, task_id.decode())
