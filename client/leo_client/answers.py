"""What the service answers, as dataclasses. Fields that only a newer service sends are left out."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def read_fields(kind: type[Answer], answer: dict[str, Any]) -> Answer:
    """Make a dataclass of those fields that it knows."""
    return kind(**{field.name: answer[field.name] for field in fields(kind)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Adaptation:
    """What the inner loop did."""

    losses: list[float]
    """The support loss before each step and after the last."""
    support_accuracy: float
    """Share of the examples that the adapted classifier gets right."""
    milliseconds: float


@dataclass(frozen=True)
class ClassQuality:
    """How well a class holds together."""

    label: str
    agreement: float | None
    """Share of its examples that its other examples recognise; None for a class with one example."""
    margin: float
    """Mean cosine with its own class, minus that with the nearest other class."""
    nearest: str
    """The class it is most easily confused with."""


@dataclass(frozen=True)
class Suspect:
    """An example that may be mislabelled."""

    index: int
    """Number of the example, counted from 0 in the order they were sent."""
    label: str
    looks_like: str
    margin: float
    """Below 0; the lower, the likelier a wrong label."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two examples of different classes that show nearly the same picture."""

    first: int
    second: int
    similarity: float
    """Cosine of their features."""


@dataclass(frozen=True)
class Quality:
    """What the examples show about their labels."""

    classes: list[ClassQuality]
    suspects: list[Suspect]
    """The likeliest first."""
    near_duplicates: list[NearDuplicate]

    @classmethod
    def from_json(cls, quality: dict[str, Any]) -> "Quality":
        """Read the service's JSON."""
        return cls(
            classes=[read_fields(ClassQuality, each) for each in quality["classes"]],
            suspects=[read_fields(Suspect, each) for each in quality["suspects"]],
            near_duplicates=[read_fields(NearDuplicate, each) for each in quality["near_duplicates"]],
        )


@dataclass(frozen=True)
class JudgedAnswers:
    """How many answers were judged by `feedback`, and how many of them were right."""

    judged: int = 0
    right: int = 0


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
    adaptation: Adaptation
    quality: Quality | None
    """None for an imported task."""
    revision: int = 0
    """How often the task was changed."""
    feedback: JudgedAnswers = JudgedAnswers()
    negatives: int = 0
    """How many examples of none of its classes it has."""

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
            adaptation=read_fields(Adaptation, task["adaptation"]),
            quality=None if task.get("quality") is None else Quality.from_json(task["quality"]),
            revision=task.get("revision", 0),
            feedback=read_fields(JudgedAnswers, task["feedback"]) if "feedback" in task else JudgedAnswers(),
            negatives=task.get("negatives", 0),
        )


@dataclass(frozen=True)
class Example:
    """A support example of a task, and what the others say about its label."""

    index: int
    """Its number, counted from 0 in the order they were sent; it stays the same whatever is removed."""
    label: str
    nearest: str
    """The other class that it is most similar to."""
    margin: float
    """Cosine with its own class minus the cosine with the nearest other class."""
    suspect: bool
    """Whether it is nearer to the other class, and so may be mislabelled."""
    near_duplicates: list[int]
    """Examples of other classes that show nearly the same picture."""


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassAnswers:
    """The answers about one label."""

    label: str
    is_class: bool
    """Whether the task has this class; if not, no answer can be right."""
    images: int
    """Images with this label."""
    right: int
    recall: float | None
    """Share of its images that are answered right; None without images."""
    precision: float | None
    """Share of right ones among the answers with this label; None if there are none."""
    taken_for: str | None
    """The class that most of its other images are taken for."""


@dataclass(frozen=True)
class Confusion:
    """Which labels are answered with which classes: `counts` has a row for each of `labels`."""

    labels: list[str]
    answers: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class WrongAnswer:
    """An image that was not answered with its label."""

    index: int
    """Number of the image, counted from 0 in the order they were sent."""
    label: str
    answer: str
    confidence: float
    worth_adding: bool
    """Whether it would teach the task most, added as an example."""


@dataclass(frozen=True)
class Evaluation:
    """How right a task's answers are on labelled images."""

    accuracy: Accuracy
    """Over the images whose label is a class of the task."""
    ece: float
    """Expected calibration error: how far confidences are from the share of right answers."""
    classes: list[ClassAnswers]
    """The task's classes, then other labels that were sent."""
    confusion: Confusion
    wrong: list[WrongAnswer]

    @classmethod
    def from_json(cls, evaluation: dict[str, Any]) -> "Evaluation":
        """Read the service's JSON."""
        return cls(
            accuracy=read_fields(Accuracy, evaluation["accuracy"]),
            ece=evaluation["calibration"]["ece"],
            classes=[read_fields(ClassAnswers, each) for each in evaluation["classes"]],
            confusion=read_fields(Confusion, evaluation["confusion"]),
            wrong=[read_fields(WrongAnswer, each) for each in evaluation["wrong"]],
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
    """Whether it is of none of the task's classes: `known` is below `reject`, or the confidence below `threshold`."""
    known: float | None = None
    """The share of pictures of the task's own classes that look less like them; None if the model cannot tell."""

    @classmethod
    def from_json(cls, prediction: dict[str, Any]) -> "Prediction":
        """Read the service's JSON."""
        scores = [Score(score["label"], score["confidence"]) for score in prediction["top_k"]]
        return cls(
            prediction["label"], prediction["confidence"], scores, prediction["unknown"], prediction.get("known")
        )


@dataclass(frozen=True)
class Limits:
    """What a service takes at most."""

    max_ways: int
    """Classes of a task."""
    max_images: int
    """Images of a request, and examples of a task."""
    max_image_pixels: int
    max_body_bytes: int
    max_ttl_seconds: int


@dataclass(frozen=True)
class Model:
    """A model that a service has loaded."""

    name: str
    version: str
    default: bool
    """Whether it answers where neither a task nor its pictures ask for another."""
    input: str
    """The kind of images it takes: "drawings" or "photos"."""
    resolution: int
    """Side of the square that it sees, in pixels."""
    feature_dim: int
    """F, the columns of `fc.weight`."""
    latent_dim: int
    """L, the length of a class's code."""
    inner_steps: int
    phi_precision: str
    """Number format in which its feature extractor computes: "int8" or "float32"."""
    limits: Limits
    card: dict[str, Any]
    """How it was trained, and how accurate it is; its form is the model's own."""

    @classmethod
    def from_json(cls, model: dict[str, Any]) -> "Model":
        """Read the service's JSON."""
        return read_fields(cls, model | {"limits": read_fields(Limits, model["limits"])})
