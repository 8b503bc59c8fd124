"""What goes in and out as JSON."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.tasks.options import AdaptationReport, TaskOptions

EXAMPLE_IMAGE = "iVBORw0KGgoAAAANSUhEUgAA..."


class SupportExample(BaseModel):
    """One labelled image."""

    model_config = ConfigDict(extra="forbid")
    image: str = Field(description="PNG, JPEG or WEBP file as base64")
    label: str = Field(examples=["alpha"])


class CreateTask(TaskOptions):
    """A support set as JSON."""

    support: list[SupportExample]


class AddSupport(BaseModel):
    """More examples as JSON."""

    model_config = ConfigDict(extra="forbid")
    support: list[SupportExample]


class PredictImages(BaseModel):
    """Images to classify as JSON."""

    model_config = ConfigDict(extra="forbid")
    images: list[str] = Field(description="PNG, JPEG or WEBP files as base64", examples=[[EXAMPLE_IMAGE]])


class ClassQuality(BaseModel):
    """How well a class holds together, by its examples' features."""

    label: str = Field(examples=["alpha"])
    agreement: float | None = Field(
        description="share of its examples that its other examples recognise (leave one out); null for a single one",
        examples=[1.0],
    )
    margin: float = Field(
        description="mean over its examples: cosine with their own class less that with the nearest other; "
        "for a single example 1 less the latter",
        examples=[0.61],
    )
    nearest: str = Field(description="the class it is most easily taken for", examples=["beta"])


class Suspect(BaseModel):
    """An example that its own class does not recognise."""

    index: int = Field(description="which of the task's examples, counted from 0 in the order they came")
    label: str
    looks_like: str
    margin: float = Field(description="below 0; the lower, the more suspect")


class NearDuplicate(BaseModel):
    """Two examples of different classes that are nearly the same picture."""

    first: int
    second: int
    similarity: float = Field(description="cosine of their features")


class QualityReport(BaseModel):
    """What the examples say of their own labels. Worth a look before trusting the answers."""

    classes: list[ClassQuality]
    suspects: list[Suspect] = Field(description="examples that may be mislabelled, the most suspect first")
    near_duplicates: list[NearDuplicate]


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
    adaptation: AdaptationReport
    quality: QualityReport | None = Field(description="null for tasks made before there was a report, or imported")


class TaskPage(BaseModel):
    """Tasks, newest first."""

    tasks: list[Task]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last")


class Score(BaseModel):
    """A class and how likely it is."""

    label: str = Field(examples=["alpha"])
    confidence: float = Field(description="probability among the task's classes", examples=[0.97])


class Prediction(Score):
    """The answer for one image."""

    top_k: list[Score] = Field(description="the likeliest classes, best first")
    unknown: bool = Field(False, description="the confidence is under the request's threshold")


class Predictions(BaseModel):
    """One prediction an image, in the order they came."""

    task_id: str
    model_version: str
    predictions: list[Prediction]


class Model(BaseModel):
    """A model that tasks can be made with."""

    name: str = Field(examples=["omniglot"])
    version: str = Field(examples=["3f9c1d0b7a52"])
    default: bool
    input: str = Field(description="what pictures it takes: drawings or photos", examples=["drawings"])
    phi_precision: str = Field(description="how phi computes here: int8 or float32", examples=["float32"])
    resolution: int = Field(description="side of the square input after framing, pixels", examples=[28])
    feature_dim: int = Field(description="F, columns of `fc.weight`", examples=[64])
    latent_dim: int = Field(description="L, numbers in a class's code", examples=[64])
    inner_steps: int = Field(examples=[5])
    limits: dict[str, int]
    card: dict[str, Any] = Field(description="data, split, command, seed, time and accuracy with intervals")


class Models(BaseModel):
    """Models loaded."""

    models: list[Model]


class Health(BaseModel):
    """Whether the service lives, or is ready."""

    status: Annotated[str, Field(examples=["ok"])]


class ReadyHealth(Health):
    """That the service is ready, and how many of its workers are."""

    workers: int = Field(description="worker processes that the service should have", examples=[4])
    workers_ready: int = Field(description="those that answer requests; the others are being started again")


class ProblemDocument(BaseModel):
    """An error, as of RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["image 3 is truncated; send the whole file"])
    index: int | None = Field(None, description="which image is at fault, counted from 0", examples=[3])
