"""Settings of the training runs: of models of drawings, of models of photos, and of the gradient-based baselines.

Together with the data and the seed they determine the weights.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.config import LEOConfig

#: Settings of `LEOConfig` that can be changed after training. `inner_lr` then replaces the alpha that was learned; no
#: other weight depends on them.
SetAfterTraining = Literal["support_views", "inner_temperature", "inner_ridge", "inner_lr", "inner_steps"]


class EpisodeConfig(BaseModel):
    """The random tasks of a meta-training run. Each step samples one number of ways and shots for all its tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    images_per_step: int = Field(400, ge=20, description="images of all tasks of a step together")
    ways: tuple[int, ...] = Field((5, 10, 20), description="choices, equally likely")
    shots: tuple[int, ...] = Field((1, 2, 5), description="choices, equally likely")
    query: int = Field(5, ge=1, description="queries of each class")

    def tasks_per_step(self, way: int, shot: int) -> int:
        """Return how many such tasks fit into the images of a step, at least 1."""
        return max(1, self.images_per_step // (way * (shot + self.query)))


class DrawingTrainConfig(EpisodeConfig):
    """Settings of a run on drawings: its three stages, and what is done to the trained model.

    `model.training.drawings.DrawingTrainer` runs the stages, `model.training.finishing` does the rest.
    """

    leo: LEOConfig
    # pretraining
    pretrain_steps: int = Field(6000, ge=0)
    pretrain_batch: int = Field(128, ge=2, description="images of a step")
    pretrain_lr: float = Field(3e-3, gt=0, description="peak of a one-cycle schedule")
    pretrain_scale: float = Field(20.0, gt=0, description="factor on the cosines before softmax")
    pretrain_mirrored: bool = Field(False, description="use mirror images as further classes, as rotated ones are")
    pretrain_elastic: float = Field(0.0, ge=0, le=0.2, description="largest elastic shift, as a share of the side")
    distill: float = Field(0.0, ge=0, description="weight of the agreement with the teacher's codes in the loss")
    # episodes
    episode_steps: int = Field(2000, ge=0)
    within_alphabet: float = Field(0.0, ge=0, le=1, description="share of steps whose tasks are each of one alphabet")
    mirrored: bool = Field(False, description="use mirror images as further classes, as rotated ones are")
    elastic: float = Field(0.0, ge=0, le=0.2, description="largest elastic shift, as a share of the side")

    # views
    view_steps: int = Field(0, ge=0, description="steps in which phi learns its own mean over several views")
    view_batch: int = Field(96, ge=1, description="drawings of a step")
    view_lr: float = Field(7.5e-4, gt=0, description="peak of a one-cycle schedule")
    taught_views: int = Field(9, ge=2, le=32, description="views of a drawing that the mean is taken over")

    # what is done to the trained model
    low_rank: int | None = Field(None, ge=1, description="rank of the decoder's last layer; None leaves it as it is")
    after_training: dict[SetAfterTraining, float] = Field({}, description="settings of the finished model, by name")

    validate_every: int = Field(250, ge=1, description="steps between validations, each with a checkpoint")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints; a killed run loses no more")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.view_steps and self.leo.own_encoder:
            raise ValueError("view_steps needs own_encoder=False: phi alone would learn, and not the encoder's blocks")
        return self


class PhotoTrainConfig(EpisodeConfig):
    """Settings of `model.training.photos.PhotoTrainer`."""

    leo: LEOConfig
    steps: int = Field(80, ge=1)
    images_per_step: int = Field(100, ge=20, description="images of all tasks of a step together")
    ways: tuple[int, ...] = Field((2, 5, 10, 20), description="choices, equally likely")
    shots: tuple[int, ...] = Field((1, 2, 5, 10), description="choices, equally likely")
    from_classes: bool = Field(True, description="set encoder and decoder from the training classes, not at random")
    shrinkage: float = Field(
        0.9, gt=0, le=1, description="share of the within-class covariance replaced by an even one; 1 ignores it"
    )
    centring: float = Field(0.0, ge=0, le=1, description="share of the training features' mean that phi subtracts")
    trained: tuple[str, ...] = Field(
        ("alpha", "decoder.log_scale"), description="the parameters to train, by how their names begin"
    )
    validate_every: int = Field(40, ge=1, description="steps between validations")


class BaselineTrainConfig(EpisodeConfig):
    """Settings of the meta-training of MAML, Meta-SGD and ANIL. The defaults are those of LEO's episodes."""

    steps: int = Field(1500, ge=1)
    phi_lr: float = Field(3e-4, gt=0, description="peak for phi, which is trained already")
    head_lr: float = Field(3e-2, gt=0, description="peak for the head's initial row and the log step sizes")
    max_grad_norm: float = Field(5.0, gt=0)
