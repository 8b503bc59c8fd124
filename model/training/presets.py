"""Presets: the settings of the training runs behind the shipped weights, and of some to compare with, by name."""

from model.config import LEOConfig
from model.training.config import DrawingTrainConfig, PhotoTrainConfig


def photo_model(backbone: str, resolution: int) -> LEOConfig:
    """Return the settings of a LEO on a pretrained backbone's features."""
    return LEOConfig(
        backbone=backbone,
        backbone_pooling="centre",
        feature_power=0.7,
        resolution=resolution,
        latent_dim=1600,
        code_ridge=0.08,
        code_evenness=3.0,
        relation_width=32,
        decoder_skip=True,
        decoder_tied=True,
        decoder_hidden=(16, 16),
        logit_scale=12.0,
        inner_steps=3,
        inner_lr=0.003,
        outer_lr=0.003,
    )


PRESETS: dict[str, DrawingTrainConfig | PhotoTrainConfig] = {
    # The default: small and quick, the most accurate per millisecond.
    "omniglot": DrawingTrainConfig(
        leo=LEOConfig(resolution=28, widths=(32, 64, 128, 512), decoder_skip=True, inner_lr=0.3),
        pretrain_steps=9000,
        episode_steps=1500,
        shots=(1, 2, 5, 10),
        within_alphabet=0.5,
        mirrored=True,
        elastic=0.04,
        validate_every=250,
    ),
    # The source document's shape. Its filters cover small parts of the image and generalise poorly, so the small model
    # is its teacher. The shipped weights were then brought to rank 128 with `leo low-rank`.
    "omniglot-105": DrawingTrainConfig(
        leo=LEOConfig(resolution=105, decoder_skip=True, own_encoder=True, inner_lr=0.3),
        pretrain_steps=4500,
        pretrain_batch=32,
        pretrain_lr=2e-3,
        distill=5.0,
        episode_steps=600,
        images_per_step=60,
        ways=(5,),
        shots=(1, 2, 5),
        validate_every=500,
    ),
    # Photos: LEO on the features of a frozen pretrained backbone.
    "photos-lite0": PhotoTrainConfig(leo=photo_model("efficientnet-lite0", 224)),
    "photos-lite2": PhotoTrainConfig(leo=photo_model("efficientnet-lite2", 260)),
    # To compare with, as in the paper: everything but phi is trained from random weights.
    "photos-plain": PhotoTrainConfig(
        leo=LEOConfig(backbone="efficientnet-lite0", resolution=224, latent_dim=64, dropout=0.3, l2=1e-4, inner_lr=1.0),
        from_classes=False,
        centring=1.0,
        trained=("alpha", "encoder", "relation", "decoder"),
        steps=400,
    ),
}
