"""Every choice that makes one LEO different from another."""

import warnings
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.backbones import Backbone, BackboneError, Pooling, find

#: Ranges the LEO guide this project grew from recommends. Outside them: a warning, not an error.
#: The one for `inner_lr` was given for a step size that never changes.
RECOMMENDED = {
    "latent_dim": (32, 128),
    "outer_lr": (1e-4, 1e-2),
    "inner_steps": (3, 10),
}
RECOMMENDED_FIXED_INNER_LR = (0.005, 0.05)

#: Settings that no model ever used. Stored configs may still name them, with these values, which change nothing.
RETIRED = {"stem_stride": 1, "unit_codes": False}

#: Of GroupNorm, as many as divide all usual widths.
GROUPS = 8


class LEOConfig(BaseModel):
    """Shape and inner loop of a LEO. Immutable; an impossible value raises `pydantic.ValidationError`.

    The default shape is the source document's: four blocks over 105x105 drawings, F = 2304;
    `source_document()` takes its other choices too. `weights/*/config.json` holds what the shipped
    models use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # feature extractor phi
    backbone: str = Field(
        "conv4",
        description="the blocks below, trained with the rest, or a frozen pretrained network: `model.backbones`",
    )
    backbone_sha256: str = Field("", description="of that network's weights, which are not part of the model's own")
    backbone_pooling: Pooling = Field(
        "mean",
        description="mean: its last layer's mean over all positions; centre: a mean of it, and of the layer before, "
        "in which the middle counts most; all: whatever it gives",
    )
    feature_power: float = Field(
        1.0,
        gt=0,
        le=1,
        description="of a pretrained network's normalised features: under 1, the few largest decide less",
    )
    resolution: int = Field(105, ge=8, le=1024, description="side of the square input, pixels")
    widths: tuple[int, ...] = Field(
        (64, 64, 64, 64), min_length=1, max_length=8, description="filters of each block, which halves the side"
    )
    pooling: Literal["max", "mean"] = Field(
        "max", description="how a block halves the side: 2x2 pixels to their largest or mean"
    )
    pool_whole: bool = Field(False, description="the last block pools over all that is left of the image, not 2x2")
    residual: bool = Field(False, description="after its pooling a block adds what one more convolution makes of it")
    normalisation: Literal["batch", "group", "none"] = Field(
        "batch", description="behind each convolution: BatchNorm, which costs nothing when serving, GroupNorm, none"
    )
    view_angles: tuple[float, ...] = Field(
        (),
        max_length=9,
        description="at inference phi takes the mean over a drawing turned by each of these degrees; none: as it is",
    )
    normalise_features: bool = Field(
        True, description="centre phi's features and scale them to length 1, so logits are cosines"
    )

    # encoder, relation network, decoder
    latent_dim: int = Field(64, ge=1, le=4096, description="L, numbers in a class's code")
    stochastic: bool = Field(
        False, description="codes and heads are Gaussians: drawn from in training, their means at inference"
    )
    own_encoder: bool = Field(False, description="the encoder has convolution blocks of its own instead of phi's")
    code_evenness: float = Field(
        0.0,
        ge=0,
        le=4,
        description="by what power of their own size a task's codes are divided: regression needs large ones to tell "
        "apart classes that are alike, and is then no surer",
    )
    code_ridge: float | None = Field(
        None,
        gt=0,
        description="a class's code is what ridge regression on its examples' codes, and against the others', gives; "
        "this is its strength. None: the mean of its examples' codes",
    )
    attention: bool = Field(
        False, description="a class's code is a weighted mean of its examples, weights learned, equal at first"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the encoder's input features zeroed in training")
    relation_residual: bool = Field(
        True, description="the relation network adds to the class codes instead of replacing them"
    )
    relation_over: Literal["classes", "examples"] = Field(
        "classes", description="relate class codes (source document), or all pairs of examples (the paper)"
    )
    relation_steps: int = Field(1, ge=0, le=10, description="times the codes go through the relation network")
    relation_width: int | None = Field(None, ge=1, description="of the relation network's hidden layer; none: L")
    decoder_hidden: tuple[int, int] = Field((256, 512), description="widths of the decoder's two hidden layers")
    decoder_skip: bool = Field(
        False,
        description="add a linear map of the code to the decoded head, which starts as the encoder's "
        "transpose: before any training the head is then the class means seen through the encoder",
    )
    decoder_tied: bool = Field(
        False, description="the decoder's linear map stays the encoder's transpose, and is not trained or stored itself"
    )
    decoder_rank: int | None = Field(
        None,
        ge=1,
        description="rank of the map from the decoder's last hidden layer and the code to the head: where F is large "
        "most of that map does nothing, and is the most there is to read; none: as it comes",
    )
    decoder_conditioned: bool = Field(False, description="the decoder also sees the mean of the task's codes")
    decoder_experts: int = Field(1, ge=1, le=16, description="last layers of the decoder, mixed by a gate on the code")
    logit_scale: float = Field(10.0, gt=0, description="start of the learned factor on the decoded head")

    # inner loop
    inner_steps: int = Field(5, ge=0, le=1000, description="gradient steps on the codes")
    inner_lr: float = Field(0.01, gt=0, description="alpha, or where it starts if it is learned")
    learn_inner_lr: bool = Field(True, description="learn one alpha for each latent dimension")
    inner_lr_per_step: bool = Field(False, description="one such alpha for each step")
    finetune_steps: int = Field(0, ge=0, le=1000, description="gradient steps on the decoded head after those on codes")
    finetune_lr: float = Field(0.1, gt=0, description="their size, or where it starts if alpha is learned")
    second_order: bool = Field(True, description="differentiate through the inner loop's gradients in training")

    # serving
    temperature: float = Field(
        1.0, gt=0, description="logits are divided by it before the softmax; fitted after training, on validation tasks"
    )

    shot_sharpness: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="logits are multiplied by K^this too, K the examples a class has on average",
    )
    way_sharpness: float = Field(0.0, ge=-2, le=2, description="and by N^this, N the task's classes")

    # outer loop
    outer_lr: float = Field(1e-3, gt=0, description="beta, the meta-learner's step size")
    kl_weight: float = Field(0.0, ge=0, description="of KL(codes || N(0, 1)); needs stochastic")
    encoder_penalty: float = Field(0.0, ge=0, description="of |stopgrad(adapted code) - code|^2")
    orthogonality: float = Field(0.0, ge=0, description="of the correlations between the decoder's latent directions")
    l2: float = Field(0.0, ge=0, description="weight decay of the outer optimizer")
    max_grad_norm: float = Field(5.0, gt=0, description="gradients of all parameters together are clipped to it")

    def temperature_at(self, shots: float, ways: int) -> float:
        """What the logits of a task with so many examples a class, on average, and classes are divided by."""
        return float(self.temperature / (shots**self.shot_sharpness * ways**self.way_sharpness))

    @property
    def pretrained(self) -> Backbone | None:
        """The frozen network that phi is, if it is one. Raises `BackboneError` for a name nobody knows."""
        return None if self.backbone == "conv4" else find(self.backbone)

    @property
    def channels(self) -> int:
        """Of an input image: 3 (red, green, blue) for a pretrained network, 1 (ink) for drawings."""
        return 1 if self.pretrained is None else 3

    @property
    def feature_side(self) -> int:
        """Side of phi's last feature map: each block's pooling halves it, rounding down."""
        return self.resolution >> len(self.widths)

    @property
    def feature_dim(self) -> int:
        """F, what phi gives for one image: 2304 for four blocks of 64 at 105x105."""
        if self.pretrained is not None:
            return self.pretrained.width(self.backbone_pooling)
        return self.widths[-1] * (1 if self.pool_whole else self.feature_side**2)

    @model_validator(mode="before")
    @classmethod
    def _drop_retired(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        return {name: value for name, value in settings.items() if name not in RETIRED or value != RETIRED[name]}

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            pretrained = self.pretrained
        except BackboneError as error:
            raise ValueError(str(error)) from error
        if pretrained is not None and self.resolution != pretrained.resolution:
            raise ValueError(f"{self.backbone} takes a resolution of {pretrained.resolution}, not {self.resolution}")
        if pretrained is not None and self.backbone_pooling not in pretrained.parts:
            raise ValueError(f"{self.backbone} has no backbone_pooling {self.backbone_pooling!r}: use 'mean'")
        if self.feature_power != 1 and not (pretrained and self.normalise_features):
            raise ValueError("feature_power goes with a pretrained backbone and normalise_features=True")
        if pretrained is not None and self.own_encoder:
            raise ValueError("own_encoder: beside a pretrained backbone there are no convolutions of LEO's own")
        if pretrained is None and self.feature_side < 1:
            raise ValueError(
                f"{len(self.widths)} blocks halve a {self.resolution}x{self.resolution} image to nothing; "
                f"use fewer widths or a larger resolution"
            )
        if min(self.widths) < 1:
            raise ValueError(f"widths must be positive, not {self.widths}")
        if self.normalisation == "group" and any(width % GROUPS for width in self.widths):
            raise ValueError(f"GroupNorm takes widths that {GROUPS} divides, not {self.widths}")
        if min(self.decoder_hidden) < 1:
            raise ValueError(f"decoder_hidden must be positive widths, not {self.decoder_hidden}")
        if self.decoder_tied and not self.decoder_skip:
            raise ValueError("decoder_tied needs decoder_skip=True: without it there is nothing to tie to the encoder")
        if self.decoder_rank is not None and (self.decoder_tied or self.decoder_rank < self.latent_dim):
            raise ValueError(f"decoder_rank is at least latent_dim={self.latent_dim}, and goes not with decoder_tied")
        if self.code_ridge is not None and (self.attention or self.relation_over == "examples"):
            raise ValueError("code_ridge goes with neither attention nor relation_over='examples'")
        if self.code_evenness and self.code_ridge is None:
            raise ValueError("code_evenness goes with code_ridge")
        if self.kl_weight and not self.stochastic:
            raise ValueError("kl_weight needs stochastic=True: a fixed code has no distribution")
        if self.inner_steps:  # 0 steps is a deliberate "no inner loop", not a value out of range
            self._warn_outside("inner_steps", RECOMMENDED["inner_steps"])
        if pretrained is None:  # whose features are many more
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
    def paper(cls, **changes: object) -> Self:
        """The paper's LEO (section 2.3 and appendix): Gaussian codes and heads, relations over all pairs of
        examples, a linear map on the way to the code, fine-tuning steps on the head, and its four regularisers."""
        letter: dict[str, object] = {
            "stochastic": True,
            "relation_over": "examples",
            "relation_residual": False,
            "dropout": 0.3,
            "finetune_steps": 5,
            "kl_weight": 1e-3,
            "encoder_penalty": 1e-5,
            "orthogonality": 0.1,
            "l2": 1e-6,
        }
        return cls.model_validate(letter | changes)

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
