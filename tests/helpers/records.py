"""Task records for the stores' tests."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from app.store import TaskRecord, TaskStore

FIVE_CODES = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)


def record(task_id: str, **changes: Any) -> TaskRecord:
    """A record of two classes, owned by "me"."""
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


def five_way_record(task_id: str) -> TaskRecord:
    """A record of a 5-way task as the service makes it, for tests of its size."""
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


def assert_same(found: TaskRecord | None, expected: TaskRecord) -> None:
    """Check that a record was found, with the same values and its classes in the same order."""
    assert found is not None
    np.testing.assert_array_equal(found.codes, expected.codes)
    assert list(found.shots) == list(expected.shots)  # in the order of the codes
    assert found.negative_count == expected.negative_count
    np.testing.assert_array_equal(found.all_codes, expected.all_codes)
    assert replace(found, codes=expected.codes, negatives=expected.negatives) == expected


async def ids(store: TaskStore, owner: str = "me") -> list[str]:
    """Return the ids of an owner's tasks, newest first."""
    return [found.task_id for found in (await store.page(owner, 100, None)).records]


async def support_of(store: TaskStore, task_id: str, owner: str) -> bytes | None:
    """Return the payload stored with a task, or None."""
    found = await store.with_support(task_id, owner)
    return found[1] if found else None
