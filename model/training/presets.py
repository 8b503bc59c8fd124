"""Presets: the settings of the training runs behind the shipped weights, and of some to compare with, by name."""

from model.backbones import find
from model.config import LEOConfig
from model.training.config import DrawingTrainConfig, PhotoTrainConfig

MAX_CODE = 1600  # numbers of a code on a pretrained network's features
#: Views of each support photo on backbones that are quick enough for it: phi runs once more for each.
SUPPORT_VIEWS = {"efficientnet-lite0": 3, "efficientnet-lite2": 3}
RIDGE = 0.02  # for each view of a photo


def photo_model(backbone: str) -> LEOConfig:
    """Return the settings of a LEO on a pretrained backbone's features. Raises `BackboneError`."""
    found = find(backbone)
    pooling, views = found.best_pooling, SUPPORT_VIEWS.get(backbone, 1)
    return LEOConfig(
        backbone=backbone,
        backbone_pooling=pooling,
        feature_power=0.7,
        resolution=found.resolution,
        support_views=views,
        latent_dim=min(found.width(pooling), MAX_CODE),
        relation_width=32,
        decoder_skip=True,
        decoder_tied=True,
        decoder_hidden=(16, 16),
        logit_scale=12.0,
        inner_steps=5,
        inner_lr=0.08,
        inner_ridge=RIDGE * views,
        inner_temperature=12.0,
        outer_lr=0.001,
    )


def photo_run(backbone: str) -> PhotoTrainConfig:
    """Return the settings of a run on a pretrained backbone's features. Raises `BackboneError`.

    Steps hardly change what the classes give to start from, so there are few.
    """
    return PhotoTrainConfig(leo=photo_model(backbone), steps=8, validate_every=8)


# Small and quick, the most accurate per millisecond.
OMNIGLOT = DrawingTrainConfig(
    leo=LEOConfig(resolution=28, widths=(32, 64, 128, 512), decoder_skip=True, inner_lr=0.3),
    pretrain_steps=9000,
    episode_steps=1500,
    shots=(1, 2, 5, 10),
    within_alphabet=0.5,
    mirrored=True,
    elastic=0.04,
    view_steps=4000,
    after_training={"support_views": 5, "inner_temperature": 2.33, "inner_ridge": 2.55, "inner_lr": 0.071},
)

PRESETS: dict[str, DrawingTrainConfig | PhotoTrainConfig] = {
    "omniglot": OMNIGLOT,
    # The default with a hundred times the drawings, for a GPU: larger batches and more of them. So many rounds are
    # learned by heart unless every round looks different, so pretraining bends and mirrors drawings too.
    "omniglot-100x": OMNIGLOT.model_copy(
        update={
            "pretrain_steps": 90_000,
            "pretrain_batch": 1280,
            "pretrain_mirrored": True,
            "pretrain_elastic": 0.04,
            "episode_steps": 15_000,
            "images_per_step": 4000,
            "validate_every": 1000,
        }
    ),
    # The basic form, over 105x105 drawings. Its filters cover small parts of the image and generalise poorly, so the
    # small model is its teacher.
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
        low_rank=128,
        validate_every=500,
    ),
    # Photos: LEO on the features of a frozen pretrained backbone.
    "photos-lite0": photo_run("efficientnet-lite0"),
    "photos-lite2": photo_run("efficientnet-lite2"),
    # The same with CLIP's image tower beside it: far slower, and more accurate.
    "photos-large": photo_run("efficientnet-lite0+clip-vit-b16"),
    # To compare with, as in the paper: everything but phi is trained from random weights.
    "photos-plain": PhotoTrainConfig(
        leo=LEOConfig(backbone="efficientnet-lite0", resolution=224, latent_dim=64, dropout=0.3, l2=1e-4, inner_lr=1.0),
        from_classes=False,
        centring=1.0,
        trained=("alpha", "encoder", "relation", "decoder"),
        steps=400,
    ),
}
