"""Schemas of the JSON bodies that requests may have."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue

from app.tasks.options import TaskOptions
from model.images.formats import NAMES

# Two drawings that can be sent as they are: a ring and a cross.
RING = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAU0lEQVR42m2NsQ2AMAwELw7KGlktm+ANmJGK1kipIoIpiBASNKcv/v6Dwy4Ab6wK"
    "rtnwvBjnvFk4Yu3SSaPSiHy0B4k+UqQhopV7yjXbRHHCz+8Fh8Ac3rX3Ss8AAAAASUVORK5CYII="
)
CROSS = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAa0lEQVR42kWNsQ2CYBQG730h+XcwJrCFlozkCGzASpS6BQWxfvwVRONnocbmursL"
    "wyqAHwwPPy+s3lKFHTVDRZoWFPMVPLYpTh3i0IPT+XVzQNwnxG0Gt2PK3Rm9+iOxlWrtlE8+jKsg+M/fN6krnEEm/i8AAAAASUVORK5CYII="
)
URL = "its URL, on a host that the operator allows (`LEO_IMAGE_HOSTS`)"
EXAMPLES: list[JsonValue] = [{"image": RING, "label": "ring"}, {"image": CROSS, "label": "cross"}]


ABOUT_NEGATIVES = (
    f"{NAMES} files of what is none of the classes: pictures like these are then answered as unknown more often"
)


class SupportExample(BaseModel):
    """One labelled support image."""

    model_config = ConfigDict(extra="forbid")
    image: str = Field(description=f"a {NAMES} file as base64, or {URL}")
    label: str = Field(examples=["alpha"])


class CreateTask(TaskOptions):
    """A support set and the options of its task."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"support": EXAMPLES, "name": "signs"}]})
    support: Annotated[list[SupportExample], FailFast()]  # else each of a million wrong ones would be an error
    negatives: Annotated[list[str], FailFast()] = Field([], description=f"{ABOUT_NEGATIVES}; as base64")


class LabelledImages(BaseModel):
    """Labelled images, to see how right a task's answers are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"support": EXAMPLES[:1]}]})
    support: Annotated[list[SupportExample], FailFast()]


class AddExamples(LabelledImages):
    """Examples to add to a task: of its classes, of new ones, or of none."""

    support: Annotated[list[SupportExample], FailFast()] = []
    negatives: Annotated[list[str], FailFast()] = Field([], description=f"{ABOUT_NEGATIVES}; as base64")


class RelabelExample(BaseModel):
    """Another label for an example."""

    model_config = ConfigDict(extra="forbid")
    label: str = Field(description="a class of the task, or a new one", examples=["beta"])


class JudgedAnswer(BaseModel):
    """What a task answered about a picture, and what is right."""

    model_config = ConfigDict(extra="forbid")
    predicted: str = Field(description="the `label` that was answered", examples=["ring"])
    label: str = Field(description="the right one: a class of the task, or a new one", examples=["cross"])
    image: str | None = Field(
        None, description=f"the picture as base64, or {URL}; it is added to the task's examples, under the right label"
    )


class Feedback(BaseModel):
    """Answers of a task that somebody has judged."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"answers": [{"predicted": "ring", "label": "cross"}]}]}
    )
    answers: Annotated[list[JudgedAnswer], FailFast()]


class PredictImages(BaseModel):
    """Query images to classify."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [RING]}]})
    images: Annotated[list[str], FailFast()] = Field(description=f"{NAMES} files as base64; or instead of a file {URL}")
