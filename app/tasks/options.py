"""What a caller may choose about a task, and what a task reports: the models that HTTP and the library share."""

from pydantic import BaseModel, ConfigDict, Field

MOST_LOSSES = 2001  # of the most inner and fine-tuning steps that a model may take, and the first


class TaskLifetime(BaseModel):
    """What every way to make or change a task takes."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, description="a name of yours for the task", examples=["greek"])
    ttl_seconds: int | None = Field(
        None, ge=1, description="the task disappears after so many seconds", examples=[3600]
    )


class UpdateTask(TaskLifetime):
    """What to change; what is left out stays. `ttl_seconds` counts from now, and null means for ever."""


class TaskOptions(TaskLifetime):
    """What may accompany a support set, in JSON or as form fields."""

    keep_support: bool = Field(
        True, description="keep the examples' features (not the pictures), so that more examples can be added later"
    )
    model: str | None = Field(
        None,
        description="name of the model to adapt; see `GET /models`. Without it what the pictures look like decides, "
        "where models for drawings and for photos are loaded, and else the default is taken",
        examples=["omniglot"],
    )


class AdaptationReport(BaseModel):
    """What the inner loop did."""

    model_config = ConfigDict(allow_inf_nan=False)
    losses: list[float] = Field(
        max_length=MOST_LOSSES,
        description="support loss before the first step and after each",
        examples=[[0.21, 0.09, 0.05, 0.03, 0.02, 0.02]],
    )
    support_accuracy: float = Field(
        description="share of the support images the adapted head gets right", examples=[1.0]
    )
    milliseconds: float = Field(description="from queueing to the decoded head", examples=[6.4])
