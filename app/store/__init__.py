"""The task store: its protocol and the record of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

IDEMPOTENCY_SECONDS = 24 * 3600  # an Idempotency-Key is kept this long, or until its task is gone
MOST_CALLS = 512  # Idempotency-Keys kept of one task's changes: the latest, beside that of its creation


@dataclass(frozen=True)
class PictureChanges:
    """Pictures of a task's examples, which are stored and removed with a write, by the examples' numbers."""

    added: Mapping[int, bytes]
    max_bytes: int  # of all pictures of the owner together
    removed: int | None = None


@dataclass(frozen=True)
class TaskRecord:
    """A task as stored: its adapted codes and metadata, without the head, which is decoded from the codes."""

    task_id: str
    owner: str  # of the key that made it; empty if no keys are configured
    name: str | None
    model: str
    model_version: str
    shots: dict[str, int]  # by label, in the order of the codes
    codes: NDArray[np.float32]  # [N, L]
    created_at: float  # seconds since 1970
    expires_at: float | None
    adaptation: dict[str, Any]
    revision: int = 0  # the number of updates so far
    quality: dict[str, Any] | None = None  # the report on its support set, see app.tasks.quality_report
    keep_images: bool = False  # whether pictures of its examples are stored
    judged: int = 0  # answers that callers have said to be right or wrong
    judged_right: int = 0
    negatives: NDArray[np.float32] | None = None  # [M, L], a code of each example of none of the classes
    cohesion: float | None = None  # of its support, where classes have several examples; see `Background.shift`
    own_score: float | None = None  # of its support, where the model's `known` depends on it; see `Background.shift`
    # [M+1]: the number of each negative, then the next one that is free; None where none was ever removed.
    negative_numbers: list[int] | None = None

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the codes."""
        return list(self.shots)

    @property
    def negative_count(self) -> int:
        """How many examples of none of its classes it has."""
        return 0 if self.negatives is None else len(self.negatives)

    @property
    def numbers_of_negatives(self) -> list[int]:
        """The numbers of its negatives, which they keep, then the next one that is free: [M+1]."""
        return list(self.negative_numbers or range(self.negative_count + 1))

    @property
    def all_codes(self) -> NDArray[np.float32]:
        """The codes of the classes, then of the negatives: [N+M,L]."""
        return self.codes if self.negatives is None else np.concatenate([self.codes, self.negatives])

    def answers_as(self, other: "TaskRecord") -> bool:
        """Whether both give the same answers.

        The revision alone does not tell: a Redis that lost its last writes counts their revisions again.
        """
        mine, others = (
            (each.revision, list(each.shots.items()), each.model_version, each.cohesion, each.own_score)
            for each in (self, other)
        )
        return mine == others and np.array_equal(self.all_codes, other.all_codes)


@dataclass(frozen=True)
class IdempotencyRecord:
    """An `Idempotency-Key` and a digest of the request sent with it."""

    key: str
    digest: bytes


@dataclass(frozen=True)
class StoredPage:
    """Some tasks, newest first, and where the next page begins."""

    records: list[TaskRecord]
    unreadable: dict[str, str]  # why, by task id
    next_cursor: str | None


class TaskStore(Protocol):
    """A store of tasks; every method may raise `StoreUnavailable`, and does so within seconds.

    Writes are atomic, and durable when they return. Expired tasks are never returned. Methods that return records
    raise `UnreadableRecord`.
    """

    shared: bool
    """Whether replicas on other machines use the same store."""

    async def add(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        max_tasks: int | None = None,
        pictures: PictureChanges | None = None,
    ) -> TaskRecord:
        """Store a new task, with an opaque payload `support` that `with_support` returns.

        Returns the record. If `idempotency` was used before, stores nothing and returns the record first made with it.
        Raises `IdempotencyConflict` if that came from a different request, `TooManyTasks` if the owner has `max_tasks`,
        and `TooManyPictures`.
        """

    async def find_by_idempotency_key(self, owner: str, idempotency: IdempotencyRecord) -> TaskRecord | None:
        """The record that `add` stored with an `Idempotency-Key`; with one of `update`, its task as it is now.

        None if the key is not known, and once its task is gone. Of a task's changes the last `MOST_CALLS` are kept.
        Raises `IdempotencyConflict` if it came from a different request.
        """

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        """The owner's task, or None."""

    async def with_support(self, task_id: str, owner: str) -> tuple[TaskRecord, bytes | None] | None:
        """The owner's task and its payload, as they were at one moment; or None."""

    async def pictures(self, task_id: str, owner: str, number: int | None = None) -> dict[int, bytes]:
        """The pictures of a task's examples, or that of one of them, by the examples' numbers in their order."""

    async def update(
        self,
        record: TaskRecord,
        *,
        support: bytes | None = None,
        idempotency: IdempotencyRecord | None = None,
        pictures: PictureChanges | None = None,
    ) -> bool:
        """Replace a task, and its payload if one is given, provided that the stored one is still at `record.revision`.

        The stored record gets the next revision and expires at `record.expires_at`. Returns False if the task is gone,
        or another request has changed it or used `idempotency` meanwhile: read it again and retry.
        Raises `IdempotencyConflict` and `TooManyPictures`.
        """

    async def delete(self, task_id: str, owner: str, revision: int | None = None) -> bool:
        """Delete a task, of this revision if one is given; returns whether there was one."""

    async def page(self, owner: str, limit: int, cursor: str | None) -> StoredPage:
        """One page of at most `limit` tasks, unreadable ones included. Raises `ValueError` for an invalid cursor."""

    async def count(self, owner: str) -> int:
        """The number of an owner's live tasks."""

    def reason_lost(self) -> str | None:
        """Why no task can be created or changed until a person does something about it, or None."""

    async def close(self) -> None:
        """Finish the calls under way and close the store."""


def parse_cursor(cursor: str | None) -> int:
    """The number below which the next page begins. Raises `ValueError` for an invalid cursor."""
    if cursor is None:
        return 2**53
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise ValueError("not a cursor of this service: pass `next_cursor` of the previous page unchanged")
    return int(cursor)
