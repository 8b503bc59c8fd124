import time
from typing import Any

import pytest
import torch

from app.cache import Head, Warm, WarmTasks
from tests.app.test_store import record


def warm(task_id: str, floats: int = 100, **changes: Any) -> Warm:
    head = Head(torch.zeros(2, floats), torch.zeros(2))
    return Warm(record(task_id, **changes), head)


def test_the_cache_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    size = warm("x").size
    cache = WarmTasks(3 * size)
    for n in range(5):
        cache.put(warm(f"t{n}"))
    assert len(cache) == 3
    assert cache.size <= 3 * size
    assert cache.get("t1", "me") is None
    assert cache.get("t2", "me") is not None
    cache.put(warm("t5"))  # t2 was just used, so t3 goes
    assert cache.get("t3", "me") is None
    assert cache.get("t2", "me") is not None
    cache.put(warm("huge", floats=10_000))
    assert cache.get("huge", "me") is None
    cache.drop("t2")
    assert cache.get("t2", "me") is None


def test_the_cache_knows_owners_and_expiry() -> None:
    cache = WarmTasks(10**6)
    cache.put(warm("mine"))
    cache.put(warm("old", expires_at=time.time() - 1))
    assert cache.get("mine", "me") is not None
    assert cache.get("mine", "you") is None
    assert cache.get("old", "me") is None
    assert len(cache) == 1


def test_the_cache_frees_the_room_of_expired_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cache.SWEEP_EVERY", 0.0)
    cache = WarmTasks(10**6)
    cache.put(warm("old", expires_at=time.time() - 1))
    cache.put(warm("lives", expires_at=time.time() + 1000))
    cache.put(warm("for ever"))
    assert len(cache) == 2
