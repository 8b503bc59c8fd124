"""The training runs behind the shipped weights, by name."""

from model.config import LEOConfig
from model.training.drawings import TrainConfig
from model.training.photos import PhotoTrainConfig


def photos(backbone: str, resolution: int) -> LEOConfig:
    """A head over a pretrained network's features."""
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


PRESETS: dict[str, TrainConfig | PhotoTrainConfig] = {
    # Small and quick: most accurate per millisecond.
    "omniglot": TrainConfig(
        leo=LEOConfig(resolution=28, widths=(32, 64, 128, 512), decoder_skip=True, inner_lr=0.3),
        pretrain_steps=9000,
        episode_steps=1500,
        shots=(1, 2, 5, 10),
        within_alphabet=0.5,
        mirrored=True,
        elastic=0.04,
        validate_every=250,
    ),
    # The source document's shape; its filters see little at a time, so the small model teaches it. The shipped one is
    # brought to rank 128 after that: `leo narrow`.
    "omniglot-105": TrainConfig(
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
    # Photos: heads over the features of a frozen pretrained network.
    "photos-lite0": PhotoTrainConfig(leo=photos("efficientnet-lite0", 224)),
    "photos-lite2": PhotoTrainConfig(leo=photos("efficientnet-lite2", 260)),
    # The same, as the paper has it: everything but phi trained from a random start, to compare with.
    "photos-plain": PhotoTrainConfig(
        leo=LEOConfig(backbone="efficientnet-lite0", resolution=224, latent_dim=64, dropout=0.3, l2=1e-4, inner_lr=1.0),
        from_classes=False,
        centring=1.0,
        trained=("alpha", "encoder", "relation", "decoder"),
        steps=400,
    ),
}
