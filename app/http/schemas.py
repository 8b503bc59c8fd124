"""Schemas of the answers."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.tasks.options import AdaptationReport


class JudgedAnswers(BaseModel):
    """How many answers were judged, by `POST /tasks/{task_id}/feedback`, and how many of them were right."""

    judged: int = Field(examples=[40])
    right: int = Field(examples=[36])


class ClassQuality(BaseModel):
    """How similar a class's examples are to each other, compared with other classes, by their features."""

    label: str = Field(examples=["alpha"])
    agreement: float | None = Field(
        description="share of its examples that are classified correctly by the other examples (leave one out); "
        "null for a class with one example",
        examples=[1.0],
    )
    margin: float = Field(
        description="mean over its examples of the cosine with their own class minus the cosine with the nearest "
        "other class; for a class with one example the former counts as 1",
        examples=[0.61],
    )
    nearest: str = Field(description="the class it is most easily confused with", examples=["beta"])


class Suspect(BaseModel):
    """An example that is nearer to another class than to its own, and so may be mislabelled."""

    index: int = Field(
        description="number of the example, counted from 0 in the order they were sent; those of removed ones count too"
    )
    label: str
    looks_like: str
    margin: float = Field(description="below 0; the lower, the likelier a wrong label")


class NearDuplicate(BaseModel):
    """Two examples of different classes that show nearly the same picture."""

    first: int
    second: int
    similarity: float = Field(description="cosine of their features")


class QualityReport(BaseModel):
    """A check of the support set: labels that look wrong, and how well its classes can be distinguished."""

    classes: list[ClassQuality]
    suspects: list[Suspect] = Field(description="examples that may be mislabelled, the likeliest first")
    near_duplicates: list[NearDuplicate]


class Example(BaseModel):
    """A support example of a task, and what the others say about its label."""

    index: int = Field(
        description="its number, counted from 0 in the order they were sent. It stays the same whatever is removed, "
        "and no other example ever gets it",
        examples=[3],
    )
    label: str = Field(examples=["alpha"])
    nearest: str = Field(description="the other class that it is most similar to", examples=["beta"])
    margin: float = Field(
        description="cosine with its own class, without it, minus the cosine with the nearest other class; for the "
        "only example of a class the former counts as 1",
        examples=[0.61],
    )
    suspect: bool = Field(description="whether it is nearer to the other class, and so may be mislabelled")
    near_duplicates: list[int] = Field(description="examples of other classes that show nearly the same picture")


class ExampleList(BaseModel):
    """All support examples of a task, in the order they were sent."""

    task_id: str
    revision: int = Field(description="of the task that has these examples; see `Task`", examples=[0])
    examples: list[Example]


class NegativeList(BaseModel):
    """The examples of none of a task's classes, in the order they were sent."""

    task_id: str
    revision: int = Field(description="of the task that has them; see `Task`", examples=[0])
    negatives: list[int] = Field(
        description="their numbers, counted from 0. Each stays the same whatever is removed, and no other negative of "
        "the task ever gets it",
        examples=[[0, 2]],
    )


class Task(BaseModel):
    """A task: a classifier made from a support set."""

    task_id: str = Field(examples=["b1f0c2a8e4d94c6f9a0e7d35"])
    name: str | None = Field(examples=["greek"])
    model: str = Field(examples=["omniglot"])
    model_version: str = Field(examples=["3f9c1d0b7a52"])
    labels: list[str] = Field(description="the classes, in the order of the head's rows", examples=[["alpha", "beta"]])
    shots: dict[str, int] = Field(description="support images by label", examples=[{"alpha": 1, "beta": 1}])
    created_at: datetime
    expires_at: datetime | None
    revision: int = Field(
        description="how often the task was changed. The header `ETag` holds it too: sent back as `If-Match`, it "
        "keeps a change from being made to a task that others have changed meanwhile",
        examples=[0],
    )
    feedback: JudgedAnswers
    keep_images: bool = Field(description="whether pictures of its examples are stored")
    negatives: int = Field(description="how many examples of none of its classes it has", examples=[0])
    adaptation: AdaptationReport
    quality: QualityReport | None = Field(
        description="null for imported tasks, and for tasks made before reports existed"
    )


class UnreadableTask(BaseModel):
    """A task of which nothing but its id can be read."""

    task_id: str
    reason: str = Field(examples=["task 3f9c is a record of schema 3, this program's is 2: run the same version"])


class TaskPage(BaseModel):
    """One page of a list of tasks, newest first."""

    tasks: list[Task]
    unreadable: list[UnreadableTask] = Field(
        description="tasks of this page that are stored but cannot be read: they are damaged, or a newer version of "
        "the service wrote them. They can be deleted"
    )
    next_cursor: str | None = Field(description="pass as `cursor` to get the next page; null on the last page")


class Score(BaseModel):
    """A class and its probability."""

    label: str = Field(examples=["alpha"])
    confidence: float = Field(description="probability among the task's classes", examples=[0.97])


class Prediction(Score):
    """The answer for one query image."""

    top_k: list[Score] = Field(description="the likeliest classes, best first")
    known: float | None = Field(
        description="how much the image looks like those of the task's classes: the share of such images that look "
        "less like them. About 5 % of them get less than 0.05; most images of other classes get 0. Null if the model "
        "is not calibrated for it",
        examples=[0.62],
    )
    unknown: bool = Field(
        description="whether the image is of none of the task's classes: `known` is below the request's `reject`, or "
        "the confidence below its `threshold`"
    )
    file: str | None = Field(None, description="name of the picture in the zip; only where a zip was sent")


class Predictions(BaseModel):
    """One prediction for each query image, in the order they were sent."""

    task_id: str
    model_version: str
    predictions: list[Prediction]


class Accuracy(BaseModel):
    """A share of right answers, with its 95 % interval (Wilson's)."""

    value: float = Field(examples=[0.93])
    low: float = Field(examples=[0.86])
    high: float = Field(examples=[0.97])


class CalibrationBin(BaseModel):
    """Answers whose confidence lies in one of 15 ranges of equal width."""

    count: int
    confidence: float | None = Field(description="mean; null where the range is empty")
    accuracy: float | None = Field(description="share of right answers; null where the range is empty")


class CalibrationReport(BaseModel):
    """How well confidences match the share of right answers."""

    ece: float = Field(description="expected calibration error: mean |accuracy - confidence| over the ranges")
    bins: list[CalibrationBin]


class ClassAnswers(BaseModel):
    """The answers about one label."""

    label: str = Field(examples=["alpha"])
    is_class: bool = Field(description="whether the task has this class; if not, no answer can be right: add examples")
    images: int = Field(description="with this label")
    right: int
    recall: float | None = Field(description="share of its images that are answered right; null without images")
    precision: float | None = Field(description="share of right ones among the answers with this label; null if none")
    taken_for: str | None = Field(description="the class that most of its other images are taken for")


class Confusion(BaseModel):
    """Which labels are answered with which classes."""

    labels: list[str] = Field(description="of the rows: the task's classes, then other labels that were sent")
    answers: list[str] = Field(description="of the columns: the task's classes")
    counts: list[list[int]]


class WrongAnswer(BaseModel):
    """An image that was not answered with its label."""

    index: int = Field(description="number of the image, counted from 0")
    file: str | None = Field(None, description="its name in the zip; only where a zip was sent")
    label: str
    answer: str
    confidence: float
    worth_adding: bool = Field(
        description="whether it is among those of its class that the task is furthest from getting right: adding it as "
        "an example (`POST /tasks/{task_id}/support`) would teach it most"
    )


class Evaluation(BaseModel):
    """How right a task's answers are on labelled images. Nothing is stored."""

    task_id: str
    revision: int
    model_version: str
    images: int
    accuracy: Accuracy = Field(description="over the images whose label is a class of the task")
    calibration: CalibrationReport = Field(description="over the same images")
    classes: list[ClassAnswers] = Field(description="the task's classes, then other labels that were sent")
    confusion: Confusion
    wrong: list[WrongAnswer]


class Model(BaseModel):
    """A loaded model, which tasks can be made with."""

    name: str = Field(examples=["omniglot"])
    version: str = Field(examples=["3f9c1d0b7a52"])
    default: bool
    input: str = Field(description="the kind of images it takes: drawings or photos", examples=["drawings"])
    phi_precision: str = Field(description="number format in which phi computes: int8 or float32", examples=["float32"])
    resolution: int = Field(description="side of the square input after framing, pixels", examples=[28])
    feature_dim: int = Field(description="F, the number of columns of `fc.weight`", examples=[64])
    latent_dim: int = Field(description="L, the length of a class's code", examples=[64])
    inner_steps: int = Field(examples=[5])
    limits: dict[str, int]
    card: dict[str, Any] = Field(
        description="the model card: data, split, command, seed, time and accuracy with intervals"
    )


class LeftOutModel(BaseModel):
    """A model that is configured but not loaded, because the weights of its backbone are not there."""

    name: str = Field(examples=["photos-large"])
    reason: str = Field(
        description="what is missing, and how to get it",
        examples=["clip-vit-b16 needs its weights: run 'leo backbones fetch clip-vit-b16'"],
    )


class Models(BaseModel):
    """The loaded models, and those that are configured but cannot be loaded."""

    models: list[Model]
    left_out: list[LeftOutModel] = Field(default=[], description="models that are configured but not loaded")


class Health(BaseModel):
    """The state of the service."""

    status: Annotated[str, Field(examples=["ok"])]


class ReadyHealth(Health):
    """The state of a service that is ready, and how many of its workers are."""

    workers: int = Field(description="configured worker processes", examples=[4])
    workers_ready: int = Field(description="worker processes that answer requests; the others are being restarted")


class ProblemDocument(BaseModel):
    """An error in the form of RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["image 3 is truncated; send the whole file"])
    index: int | None = Field(None, description="number of the bad image, counted from 0", examples=[3])
