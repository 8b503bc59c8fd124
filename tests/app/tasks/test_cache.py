"""The cache of tasks: what it keeps, what it evicts, and what must not come back."""

import time
from typing import Any

import numpy as np
import pytest

from app.inference.work import Head
from app.tasks.cache import TaskCache
from tests.helpers.records import record


def head(floats: int = 100) -> Head:
    return Head(np.zeros((2, floats), np.float32), np.zeros(2, np.float32))


def put(cache: TaskCache, task_id: str, floats: int = 100, **changes: Any) -> None:
    cache.put(record(task_id, **changes), head(floats))


def test_the_cache_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    one = TaskCache(10**6)
    put(one, "x")
    cache = TaskCache(3 * one.size)
    for n in range(5):
        put(cache, f"t{n}")
        assert cache.size <= 3 * one.size
    put(cache, "huge", floats=10_000)  # its head finds no room, now or ever
    huge = cache.get("huge", "me")
    assert huge is not None
    assert huge.head is None
    cache.delete("huge")
    put(cache, "huge")
    assert cache.get("huge", "me") is None  # deleted: not to be revived by a prediction under way


def test_heads_are_dropped_before_their_tasks() -> None:
    bare = TaskCache(10**6)
    put(bare, "x", floats=0)
    cache = TaskCache(4 * bare.size + 2 * head(1000).size)
    for n in range(4):
        put(cache, f"t{n}", floats=1000)
    kept = [cache.get(f"t{n}", "me") for n in range(4)]
    assert all(kept)
    assert [task.head is not None for task in kept if task] == [False, False, True, True]
    for n in range(4, 200):
        put(cache, f"t{n}", floats=1000)
    assert cache.get("t0", "me") is None  # in the end tasks go too
    assert cache.get("t199", "me") is not None
    assert cache.size <= 4 * bare.size + 2 * head(1000).size


def test_another_owners_or_an_expired_task_is_not_in_the_cache() -> None:
    cache = TaskCache(10**6)
    put(cache, "mine")
    put(cache, "old", expires_at=time.time() - 1)
    assert cache.get("mine", "me") is not None
    assert cache.get("mine", "you") is None
    assert cache.get("old", "me") is None
    assert len(cache) == 1


def test_a_head_is_decoded_if_there_is_room_or_its_task_is_soon_asked_again() -> None:
    bare = TaskCache(10**6)
    put(bare, "x", floats=0)
    cache = TaskCache(50 * bare.size + 3 * head(1000).size)
    for n in range(3):
        assert cache.is_worth_a_head(f"t{n}")
        put(cache, f"t{n}", floats=1000)
    for n in range(3, 40):
        cache.put(record(f"t{n}"), None)
    put(cache, "last", floats=1000)
    assert not cache.is_worth_a_head("t30")
    assert cache.is_worth_a_head("t30")  # the second time
    assert not cache.is_worth_a_head("t30")
    assert not any(cache.is_worth_a_head(f"t{n}") for n in range(3, 30))
    assert not cache.is_worth_a_head("t30")  # too long ago


def test_a_task_put_again_is_kept_with_its_new_version() -> None:
    cache = TaskCache(10**6)
    put(cache, "t")
    cache.put(record("t"), None, version=7)
    found = cache.get("t", "me")
    assert found is not None
    assert (found.version, found.head) == (7, None)


def test_an_older_revision_does_not_replace_a_newer_one() -> None:
    cache = TaskCache(10**6)
    put(cache, "t", revision=2)
    put(cache, "t", revision=1)
    newest = cache.get("t", "me")
    assert newest is not None
    assert newest.record.revision == 2


def test_the_cache_frees_the_room_of_expired_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tasks.cache.SWEEP_EVERY", 0.0)
    cache = TaskCache(10**6)
    put(cache, "old", expires_at=time.time() - 1)
    put(cache, "lives", expires_at=time.time() + 1000)
    put(cache, "for ever")
    assert len(cache) == 2
