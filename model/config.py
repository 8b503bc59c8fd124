"""Every choice that makes one LEO different from another."""

import warnings
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Ranges the LEO guide this project grew from recommends. Outside them: a warning, not an error.
#: The one for `inner_lr` was given for a step size that never changes.
RECOMMENDED = {
    "latent_dim": (32, 128),
    "outer_lr": (1e-4, 1e-2),
    "inner_steps": (3, 10),
}
RECOMMENDED_FIXED_INNER_LR = (0.005, 0.05)


class LEOConfig(BaseModel):
    """Shape and inner loop of a LEO. Immutable; an impossible value raises `pydantic.ValidationError`.

    The default shape is the source document's: four blocks over 105x105 drawings, F = 2304;
    `source_document()` takes its other choices too. `weights/*/config.json` holds what the shipped
    models use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # feature extractor phi
    resolution: int = Field(105, ge=8, le=256, description="side of the square input, pixels")
    widths: tuple[int, ...] = Field(
        (64, 64, 64, 64), min_length=1, max_length=8, description="filters of each block, which halves the side"
    )
    stem_stride: Literal[1, 2] = Field(
        1, description="2: the first block looks at 5x5 pixels, every second one, and so halves the side twice"
    )
    normalise_features: bool = Field(
        True, description="centre phi's features and scale them to length 1, so logits are cosines"
    )

    # encoder, relation network, decoder
    latent_dim: int = Field(64, ge=1, le=4096, description="L, numbers in a class's code")
    own_encoder: bool = Field(False, description="the encoder has convolution blocks of its own instead of phi's")
    relation_residual: bool = Field(
        True, description="the relation network adds to the class codes instead of replacing them"
    )
    decoder_hidden: tuple[int, int] = Field((256, 512), description="widths of the decoder's two hidden layers")
    decoder_skip: bool = Field(
        False,
        description="add a linear map of the code to the decoded head, which starts as the encoder's "
        "transpose: before any training the head is then the class means seen through the encoder",
    )
    logit_scale: float = Field(10.0, gt=0, description="start of the learned factor on the decoded head")

    # inner loop
    inner_steps: int = Field(5, ge=0, le=1000, description="gradient steps on the codes")
    inner_lr: float = Field(0.01, gt=0, description="alpha, or where it starts if it is learned")
    learn_inner_lr: bool = Field(True, description="learn one alpha for each latent dimension")
    second_order: bool = Field(True, description="differentiate through the inner loop's gradients in training")

    # outer loop
    outer_lr: float = Field(1e-3, gt=0, description="beta, the meta-learner's step size")
    max_grad_norm: float = Field(5.0, gt=0, description="gradients of all parameters together are clipped to it")

    @property
    def feature_side(self) -> int:
        """Side of phi's last feature map: each block's pooling halves it, rounding down."""
        return -(-self.resolution // self.stem_stride) >> len(self.widths)

    @property
    def feature_dim(self) -> int:
        """F, what phi gives for one image: 2304 for four blocks of 64 at 105x105."""
        return self.widths[-1] * self.feature_side**2

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.feature_side < 1:
            raise ValueError(
                f"{len(self.widths)} blocks halve a {self.resolution}x{self.resolution} image to nothing; "
                f"use fewer widths or a larger resolution"
            )
        if min(self.widths) < 1:
            raise ValueError(f"widths must be positive, not {self.widths}")
        if min(self.decoder_hidden) < 1:
            raise ValueError(f"decoder_hidden must be positive widths, not {self.decoder_hidden}")
        if self.inner_steps:  # 0 steps is a deliberate "no inner loop", not a value out of range
            self._warn_outside("inner_steps", RECOMMENDED["inner_steps"])
        self._warn_outside("latent_dim", RECOMMENDED["latent_dim"])
        self._warn_outside("outer_lr", RECOMMENDED["outer_lr"])
        if not self.learn_inner_lr:
            self._warn_outside("inner_lr", RECOMMENDED_FIXED_INNER_LR)
        return self

    def _warn_outside(self, name: str, bounds: tuple[float, float]) -> None:
        value, (low, high) = getattr(self, name), bounds
        if not low <= value <= high:
            warnings.warn(
                f"{name}={value} is outside the recommended {low} to {high}; training may be slow or unstable",
                UserWarning,
                stacklevel=2,
            )

    @classmethod
    def source_document(cls, **changes: object) -> Self:
        """The source document's model to the letter: its own encoder blocks, nothing but codes.

        Only alpha differs: it is learned, since the fixed 0.01 given there moves a code by about
        1.5 % of its length and so adapts nothing.
        """
        letter: dict[str, object] = {
            "normalise_features": False,
            "own_encoder": True,
            "relation_residual": False,
            "decoder_skip": False,
            "logit_scale": 1.0,
        }
        return cls.model_validate(letter | changes)
