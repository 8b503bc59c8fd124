"""What changes of tasks consist of: terms, the examples that a task shall have, and judgements of its answers."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.inference.work import Images
from app.store import IdempotencyRecord, TaskRecord
from app.tasks.examples import Examples


@dataclass(frozen=True)
class Terms:
    """The terms on which a caller makes a change."""

    revisions: AbstractSet[int] | None = None  # of the task at which it may be made; None for any
    idempotency_key: str | None = None  # with the same one it is made once only


ANY_TERMS = Terms()


@dataclass(frozen=True)
class Change:
    """A requested change: the revisions at which it may be made, and how a repeated request is recognised."""

    revisions: AbstractSet[int] | None
    once: IdempotencyRecord | None


@dataclass(frozen=True)
class Edit:
    """What a task's examples shall be: those that stay, under these labels, and new ones."""

    kept: Examples
    kept_labels: list[str]
    images: Images
    labels: list[str]
    copies: list[bytes] = field(default_factory=list)  # of the new ones, where the task keeps pictures
    removed: int | None = None  # the number of one that does not stay
    negatives: NDArray[np.float32] | None = None  # [M, L], codes of new examples of none of the classes


@dataclass(frozen=True)
class Judgement:
    """What a task answered about a picture, and what is right; with the picture it becomes an example."""

    predicted: str
    label: str
    image: bytes | None = None


@dataclass(frozen=True)
class Judged:
    """How many answers were judged, and how many of them were right."""

    answers: int = 0
    right: int = 0

    def counted(self, record: TaskRecord) -> TaskRecord:
        """The record with these added to its counts."""
        return replace(record, judged=record.judged + self.answers, judged_right=record.judged_right + self.right)


NOTHING_JUDGED = Judged()
