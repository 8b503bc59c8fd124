"""The settings of a LEO: shapes of its networks, its inner loop, its outer loop, and how it serves."""

import warnings
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.backbones import Backbone, Pooling, find

#: Ranges in which these settings usually work. A value outside them warns.
RECOMMENDED = {
    "latent_dim": (32, 128),
    "outer_lr": (1e-4, 1e-2),
    "inner_steps": (3, 10),
}
#: The same for `inner_lr`, where the step size is not learned.
RECOMMENDED_FIXED_INNER_LR = (0.005, 0.05)

#: Settings that no model ever used. Stored configs may still name them, with these values, which change nothing.
RETIRED = {"stem_stride": 1, "unit_codes": False}

#: Groups of channels in GroupNorm: 8 divides all usual widths.
GROUPS = 8


class LEOConfig(BaseModel):
    """Settings of a LEO, immutable. An impossible value raises `pydantic.ValidationError`.

    The defaults give LEO's basic form: four blocks of convolutions over 105x105 drawings, F = 2304. `basic()` makes it
    without what was added here, `paper()` makes LEO as the paper describes it. The shipped models' settings are in
    `weights/*/config.json`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # feature extractor phi
    backbone: str = Field(
        "conv4",
        description="conv4: the convolution blocks described below, trained with the rest. Any other name: a frozen "
        "pretrained network out of `model.backbones`",
    )
    backbone_sha256: str = Field(
        "", description="SHA-256 of the pretrained network's weights, which are not stored with the model"
    )
    backbone_pooling: Pooling = Field(
        "mean",
        description="which features of a pretrained network are used. mean: its last layer's, averaged over all "
        "positions. centre: the last two layers', averaged with more weight in the middle of the picture. all: "
        "every feature it gives",
    )
    feature_power: float = Field(
        1.0,
        gt=0,
        le=1,
        description="exponent applied to the absolute value of each feature of a pretrained network. Below 1, single "
        "large features count less",
    )
    resolution: int = Field(105, ge=8, le=1024, description="side of the square input image in pixels")
    widths: tuple[int, ...] = Field(
        (64, 64, 64, 64), min_length=1, max_length=8, description="filters of each block; each block halves the side"
    )
    pooling: Literal["max", "mean"] = Field("max", description="how 2x2 pixels become one: their maximum or mean")
    pool_whole: bool = Field(False, description="the last block pools over the whole feature map instead of 2x2 pixels")
    residual: bool = Field(False, description="each block adds a convolution of its pooled output to that output")
    normalisation: Literal["batch", "group", "none"] = Field(
        "batch",
        description="after each convolution: BatchNorm, which is folded away for serving, GroupNorm, or nothing",
    )
    view_angles: tuple[float, ...] = Field(
        (),
        max_length=9,
        description="degrees. At inference features are averaged over the drawing rotated by each of these angles. "
        "Empty: the drawing alone",
    )
    support_views: int = Field(
        1,
        ge=1,
        le=32,
        description="views of each support picture: the picture itself and copies, the same for every picture. The "
        "copies of a drawing are bent, and its features are the mean over all views. Those of a photo are the photo in "
        "a mirror and crops of it, and each view enters the inner loop's loss by itself. Queries are seen once",
    )
    normalise_features: bool = Field(
        True, description="centre features and scale them to length 1, so that logits are scaled cosines"
    )

    # encoder, relation network, decoder
    latent_dim: int = Field(64, ge=1, le=4096, description="L, the dimension of a class's code")
    stochastic: bool = Field(
        False, description="codes and heads are Gaussian: sampled in training, the mean at inference"
    )
    own_encoder: bool = Field(False, description="the encoder has its own convolution blocks instead of sharing phi's")
    code_evenness: float = Field(
        0.0,
        ge=0,
        le=4,
        description="codes of a task are divided by this power of their typical length. Ridge regression makes long "
        "codes of similar classes, and answers by them would be overconfident. Needs code_ridge",
    )
    code_ridge: float | None = Field(
        None,
        gt=0,
        description="strength of the ridge regression whose coefficients are the class codes. None: a class's code is "
        "the mean of its examples' codes",
    )
    attention: bool = Field(
        False,
        description="a class's code is a weighted mean of its examples' codes. Weights are learned and start equal",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="fraction of the encoder's input features dropped in training")
    relation_residual: bool = Field(
        True, description="the relation network's output is added to the class codes instead of replacing them"
    )
    relation_over: Literal["classes", "examples"] = Field(
        "classes", description="pairs that are related: of class codes (the basic form) or of examples (the paper)"
    )
    relation_steps: int = Field(1, ge=0, le=10, description="how often the relation network is applied to the codes")
    relation_width: int | None = Field(
        None, ge=1, description="width of the relation network's hidden layer. None: latent_dim"
    )
    decoder_hidden: tuple[int, int] = Field((256, 512), description="widths of the decoder's two hidden layers")
    decoder_skip: bool = Field(
        False,
        description="add a linear map of the code to the decoded head. It starts as the transpose of the encoder's "
        "linear map, so that an untrained head is the class means as the encoder sees them",
    )
    decoder_tied: bool = Field(
        False,
        description="the decoder's linear map always is the transpose of the encoder's, neither trained nor stored",
    )
    decoder_rank: int | None = Field(
        None,
        ge=1,
        description="rank of the map from the decoder's last hidden layer and the code to the head, which holds most "
        "of the weights where F is large. None: full rank",
    )
    decoder_conditioned: bool = Field(False, description="the decoder also takes the mean of the task's codes")
    decoder_experts: int = Field(1, ge=1, le=16, description="last layers of the decoder, mixed by a gate on the code")
    logit_scale: float = Field(10.0, gt=0, description="where the learned factor on the decoded head starts")

    # inner loop
    inner_steps: int = Field(5, ge=0, le=1000, description="gradient steps on the codes")
    inner_lr: float = Field(0.01, gt=0, description="alpha, the size of these steps; where it starts if it is learned")
    inner_temperature: float = Field(
        1.0,
        gt=0,
        description="logits are divided by it in the inner loop's loss. At one shot a head knows its examples almost "
        "for certain, so their loss is flat; a higher temperature shows which classes are still close",
    )
    inner_ridge: float | None = Field(
        None,
        gt=0,
        description="the inner loop's gradients are divided by the second moments of the encoded support plus this "
        "ridge, as in Newton's method. None: plain gradient steps",
    )
    unrelated_cosine: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="mean cosine between encoded examples of two classes of the training data. Where the classes of a "
        "task look more alike, their codes are drawn together after the inner loop, so that answers are less certain. "
        "None: never",
    )
    learn_inner_lr: bool = Field(True, description="learn an alpha for each latent dimension")
    inner_lr_per_step: bool = Field(False, description="learn such alphas for each step")
    finetune_steps: int = Field(
        0, ge=0, le=1000, description="gradient steps on the decoded head, after the steps on the codes"
    )
    finetune_lr: float = Field(
        0.1, gt=0, description="size of the steps on the head; where it starts if alpha is learned"
    )
    second_order: bool = Field(True, description="in training, differentiate through the gradients of the inner loop")

    # serving
    temperature: float = Field(
        1.0,
        gt=0,
        description="logits are divided by it before the softmax. Fitted after training, on validation tasks",
    )
    shot_sharpness: float = Field(
        0.0, ge=-2, le=2, description="logits are also multiplied by K to this power; K is the mean shots a class"
    )
    way_sharpness: float = Field(
        0.0, ge=-2, le=2, description="logits are also multiplied by N to this power; N is the number of classes"
    )

    # outer loop
    outer_lr: float = Field(1e-3, gt=0, description="learning rate of the outer loop")
    kl_weight: float = Field(0.0, ge=0, description="weight of KL(codes || N(0, 1)) in the loss; needs stochastic")
    encoder_penalty: float = Field(
        0.0, ge=0, description="weight of |stopgrad(adapted code) - initial code|^2 in the loss"
    )
    orthogonality: float = Field(
        0.0, ge=0, description="weight of the correlations between the decoder's latent directions in the loss"
    )
    l2: float = Field(0.0, ge=0, description="weight decay of the outer loop's optimizer")
    max_grad_norm: float = Field(5.0, gt=0, description="norm to which the gradients of all parameters are clipped")

    def temperature_at(self, shots: float, ways: int) -> float:
        """Temperature that divides the logits of a task with `shots` examples a class on average and `ways` classes."""
        return float(self.temperature / (shots**self.shot_sharpness * ways**self.way_sharpness))

    @property
    def pretrained(self) -> Backbone | None:
        """The frozen network that is phi, or None for convolution blocks. Unknown names raise `BackboneError`."""
        return None if self.backbone == "conv4" else find(self.backbone)

    @property
    def views_in_loss(self) -> int:
        """V, the views of a support picture that enter the inner loop's loss: all of a photo, of a drawing their mean.

        Where it is above 1, features of a support picture are [V,F], those of the picture itself first.
        """
        return 1 if self.pretrained is None else self.support_views

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of a support picture's features, (F,) or with several `views_in_loss` (V, F)."""
        return (self.feature_dim,) if self.views_in_loss == 1 else (self.views_in_loss, self.feature_dim)

    @property
    def channels(self) -> int:
        """Channels of an input image: 3 (red, green, blue) for a pretrained network, 1 (ink) for drawings."""
        return 1 if self.pretrained is None else 3

    @property
    def feature_side(self) -> int:
        """Side of phi's last feature map in pixels: each block's pooling halves it, rounding down."""
        return self.resolution >> len(self.widths)

    @property
    def feature_dim(self) -> int:
        """F, the number of features of one image: 2304 for four blocks of 64 filters at 105x105 pixels."""
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
        pretrained = self.pretrained
        if pretrained is not None and self.resolution != pretrained.resolution:
            raise ValueError(f"{self.backbone} takes a resolution of {pretrained.resolution}, not {self.resolution}")
        if pretrained is not None and self.backbone_pooling not in pretrained.parts:
            raise ValueError(f"{self.backbone} has no backbone_pooling {self.backbone_pooling!r}: use 'mean'")
        if self.feature_power != 1 and not (pretrained and self.normalise_features):
            raise ValueError(
                "feature_power goes with a pretrained backbone and normalise_features=True; leave it at 1 otherwise"
            )
        if self.support_views > 1 and self.own_encoder:
            raise ValueError("support_views above 1 needs own_encoder=False: views are for one phi; leave it at 1")
        if pretrained is not None and self.own_encoder:
            raise ValueError(
                "own_encoder needs backbone='conv4': a pretrained backbone has no trainable blocks to copy"
            )
        if pretrained is None and self.feature_side < 1:
            raise ValueError(
                f"{len(self.widths)} blocks halve a {self.resolution}x{self.resolution} image to nothing; "
                f"use fewer widths or a larger resolution"
            )
        if min(self.widths) < 1:
            raise ValueError(f"widths must be positive, not {self.widths}")
        if self.normalisation == "group" and any(width % GROUPS for width in self.widths):
            raise ValueError(f"GroupNorm takes widths that are multiples of {GROUPS}, not {self.widths}")
        if min(self.decoder_hidden) < 1:
            raise ValueError(f"decoder_hidden must be positive widths, not {self.decoder_hidden}")
        if self.decoder_tied and not self.decoder_skip:
            raise ValueError("decoder_tied needs decoder_skip=True: without it there is nothing to tie to the encoder")
        if self.decoder_rank is not None and (self.decoder_tied or self.decoder_rank < self.latent_dim):
            raise ValueError(
                f"decoder_rank must be at least latent_dim={self.latent_dim}, and decoder_tied must be False with it"
            )
        if self.code_ridge is not None and (self.attention or self.relation_over == "examples"):
            raise ValueError("code_ridge needs attention=False and relation_over='classes'")
        if self.inner_ridge is not None and self.own_encoder:
            raise ValueError("inner_ridge needs own_encoder=False: what is encoded must be what the head classifies")
        if self.unrelated_cosine is not None and (self.own_encoder or self.finetune_steps):
            raise ValueError(
                "unrelated_cosine needs own_encoder=False and finetune_steps=0: codes are drawn at the end"
            )
        if self.code_evenness and self.code_ridge is None:
            raise ValueError("code_evenness needs code_ridge")
        if self.kl_weight and not self.stochastic:
            raise ValueError("kl_weight needs stochastic=True: a fixed code has no distribution")
        if self.inner_steps:  # 0 steps is a deliberate "no inner loop", not a value out of range
            self._warn_outside("inner_steps", RECOMMENDED["inner_steps"])
        if pretrained is None:  # a pretrained network's many features deserve longer codes
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
        """Make the settings of the paper (section 2.3 and appendix).

        Codes and heads are Gaussian, all pairs of examples are related, the inner loop goes on with steps on the
        head, and the loss has the paper's four regularisers. `changes` override single settings.
        """
        settings: dict[str, object] = {
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
        return cls.model_validate(settings | changes)

    @classmethod
    def basic(cls, **changes: object) -> Self:
        """Make the settings of LEO's basic form: an encoder with blocks of its own, and heads decoded from codes alone.

        Alpha is learned, because a fixed 0.01, which is usual, moves a code by about 1.5 % of its length and so adapts
        nothing. `changes` override single settings.
        """
        settings: dict[str, object] = {
            "normalise_features": False,
            "own_encoder": True,
            "relation_residual": False,
            "decoder_skip": False,
            "logit_scale": 1.0,
        }
        return cls.model_validate(settings | changes)

    @classmethod
    def source_document(cls, **changes: object) -> Self:
        """Make the settings of `basic` under its old name, for one more release."""
        return cls.basic(**changes)
