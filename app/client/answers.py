"""What the service says, as values. Fields that a newer service adds are left out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Task:
    """A classifier made from a support set."""

    task_id: str
    name: str | None
    model: str
    model_version: str
    labels: list[str]
    shots: dict[str, int]
    created_at: datetime
    expires_at: datetime | None
    adaptation: dict[str, Any]
    """`losses` before the first step and after each, `support_accuracy`, `milliseconds`."""
    quality: dict[str, Any] | None
    """`classes`, `suspects` and `near_duplicates`: what the examples say of their own labels."""

    @classmethod
    def of(cls, said: dict[str, Any]) -> "Task":
        expires_at = said["expires_at"]
        return cls(
            task_id=said["task_id"],
            name=said["name"],
            model=said["model"],
            model_version=said["model_version"],
            labels=said["labels"],
            shots=said["shots"],
            created_at=datetime.fromisoformat(said["created_at"]),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
            adaptation=said["adaptation"],
            quality=said.get("quality"),
        )


@dataclass(frozen=True)
class TaskPage:
    """Some tasks, newest first; `next_cursor` is None on the last page."""

    tasks: list[Task]
    next_cursor: str | None


@dataclass(frozen=True)
class Score:
    """A class and its probability."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one image."""

    label: str
    confidence: float
    top_k: list[Score]
    unknown: bool

    @classmethod
    def of(cls, said: dict[str, Any]) -> "Prediction":
        scores = [Score(score["label"], score["confidence"]) for score in said["top_k"]]
        return cls(said["label"], said["confidence"], scores, said["unknown"])
