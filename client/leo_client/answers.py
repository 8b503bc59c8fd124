"""What the service answers, as dataclasses. Fields that only a newer service sends are left out."""

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
    """The classes, in the order of the head's rows."""
    shots: dict[str, int]
    """Support images by label."""
    created_at: datetime
    expires_at: datetime | None
    adaptation: dict[str, Any]
    """`losses` before each step of the inner loop and after the last, `support_accuracy`, `milliseconds`."""
    quality: dict[str, Any] | None
    """What the examples show about their labels: `classes`, `suspects` and `near_duplicates`."""

    @classmethod
    def from_json(cls, task: dict[str, Any]) -> "Task":
        """Read the service's JSON."""
        expires_at = task["expires_at"]
        return cls(
            task_id=task["task_id"],
            name=task["name"],
            model=task["model"],
            model_version=task["model_version"],
            labels=task["labels"],
            shots=task["shots"],
            created_at=datetime.fromisoformat(task["created_at"]),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
            adaptation=task["adaptation"],
            quality=task.get("quality"),
        )


@dataclass(frozen=True)
class TaskPage:
    """Some tasks, newest first."""

    tasks: list[Task]
    next_cursor: str | None
    """The `cursor` of the next page; None on the last."""

    @classmethod
    def from_json(cls, page: dict[str, Any]) -> "TaskPage":
        """Read the service's JSON."""
        return cls([Task.from_json(task) for task in page["tasks"]], page["next_cursor"])


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
    """The likeliest classes, best first."""
    unknown: bool
    """Whether the confidence is under the threshold that was asked for."""

    @classmethod
    def from_json(cls, prediction: dict[str, Any]) -> "Prediction":
        """Read the service's JSON."""
        scores = [Score(score["label"], score["confidence"]) for score in prediction["top_k"]]
        return cls(prediction["label"], prediction["confidence"], scores, prediction["unknown"])
