"""Where tasks live: a small protocol, and what one task's record holds."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

IDEMPOTENCY_SECONDS = 24 * 3600  # how long an Idempotency-Key is remembered, if its task lives that long


class StoreUnavailable(Exception):
    """The store cannot be reached or refuses to work right now."""


class IdempotencyConflict(Exception):
    """Something else was sent under the same Idempotency-Key before."""


class TooManyTasks(Exception):
    """The owner has as many live tasks as it may have."""


@dataclass(frozen=True)
class TaskRecord:
    """A task as stored: its adapted codes and what they mean, not the head they decode to."""

    task_id: str
    owner: str  # of the key that made it; empty where there are no keys
    name: str | None
    model: str
    model_version: str
    shots: dict[str, int]  # by label; its order is that of the codes
    codes: NDArray[np.float32]  # [N, L]
    created_at: float  # seconds since 1970
    expires_at: float | None
    adaptation: dict[str, Any]
    revision: int = 0  # how often it was updated
    quality: dict[str, Any] | None = None  # what the examples say of their labels; see app.tasks.quality_report

    @property
    def labels(self) -> list[str]:
        return list(self.shots)


@dataclass(frozen=True)
class IdempotencyRecord:
    """An `Idempotency-Key` and a digest of what was sent under it."""

    key: str
    digest: bytes


class TaskStore(Protocol):
    """Every method may raise `StoreUnavailable`, within a second. Expired tasks are as good as gone at once.

    A write is durable, and done whole or not at all, when it returns.
    """

    shared: bool
    """Whether other services change its tasks too."""

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        """Keep a new task; `support` is an opaque payload beside it, read only by `support`.

        Returns the record; or, where `idempotency` was used before, the record first made with it, and keeps nothing.
        Raises `IdempotencyConflict` where that came of another body, `TooManyTasks` if the owner has `max_tasks`.
        """

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        """The record first made under an `Idempotency-Key`, while its task lives. Raises `IdempotencyConflict`."""

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        """The owner's task, or None."""

    async def support(self, task_id: str, owner: str) -> bytes | None:
        """The payload kept beside a task, or None."""

    async def update(self, record: TaskRecord, *, support: bytes | None = None) -> bool:
        """Replace a task, and its payload where one is given, if the stored one is still at `record.revision`.

        What is stored is one revision further and lives until `record.expires_at`. False if the task is gone
        or somebody else has changed it meanwhile: read it again and decide anew.
        """

    async def delete(self, task_id: str, owner: str) -> bool:
        """Whether there was one."""

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        """Newest first, and the next page's cursor. Raises `ValueError` for a cursor that is none of ours."""

    async def count(self, owner: str) -> int:
        """How many tasks an owner has."""

    async def close(self) -> None: ...


def parse_cursor(cursor: str | None) -> int:
    """The number under which the next page begins. Raises `ValueError` for a cursor that is none of ours."""
    if cursor is None:
        return 2**53
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise ValueError("not a cursor of this service")
    return int(cursor)
