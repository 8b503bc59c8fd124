"""Options of a task and the report on its adaptation, as pydantic models."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

MAX_LOSSES = 2001  # one before the first step, and one after each of at most 2000 inner and fine-tuning steps


def _no_boolean(value: Any) -> Any:
    """Refuse true and false, which pydantic would take as 1 and 0. Form fields are text, so they pass."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


Seconds = Annotated[int, Field(ge=1), BeforeValidator(_no_boolean)]


class TaskLifetime(BaseModel):
    """Options of every call that makes or changes a task."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, description="a name you choose for the task", examples=["greek"])
    ttl_seconds: Seconds | None = Field(None, description="seconds until the task is deleted", examples=[3600])


class UpdateTask(TaskLifetime):
    """Changes to a task; omitted fields stay as they are. `ttl_seconds` counts from now; null removes the expiry."""


class ImportOptions(TaskLifetime):
    """Options of an imported task."""

    model: str | None = Field(
        None,
        description="name of the model to make the task anew with, from the pictures in the zip. By default the task "
        "is restored as it was; if another version of its own model is loaded, it is made anew with that",
        examples=["omniglot"],
    )


class TaskOptions(TaskLifetime):
    """Options of a new task, as JSON or form fields."""

    keep_support: bool = Field(
        True, description="store the examples' features (never the images), so that examples can be added later"
    )
    keep_images: bool = Field(
        False,
        description="store small copies of the pictures too, without metadata: they can be looked at, exported, and "
        "used to make the task anew with another model. Otherwise no picture is ever stored",
    )
    model: str | None = Field(
        None,
        description="name of the model to adapt, see `GET /models`; or `drawings` or `photos` for the first model of "
        "that kind. By default the images decide, if models of both kinds are loaded; else the default model is used",
        examples=["omniglot"],
    )


class AdaptationReport(BaseModel):
    """How the inner loop went: its losses, accuracy and time."""

    model_config = ConfigDict(allow_inf_nan=False)
    losses: list[float] = Field(
        max_length=MAX_LOSSES,
        description="support loss before the first step and after each",
        examples=[[0.21, 0.09, 0.05, 0.03, 0.02, 0.02]],
    )
    support_accuracy: float = Field(
        ge=0, le=1, description="share of the support images that the adapted head classifies correctly", examples=[1.0]
    )
    milliseconds: float = Field(ge=0, description="time from entering the queue to the decoded head", examples=[6.4])
