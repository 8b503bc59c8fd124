"""A training run of drawings that takes seconds."""

from model.config import LEOConfig
from model.training.drawings import TrainConfig


def run_config(**changes: object) -> TrainConfig:
    """Return the settings of ten steps of a tiny model."""
    small = {"resolution": 14, "widths": (8, 8, 8), "latent_dim": 32, "decoder_hidden": (16, 24)}
    return TrainConfig.model_validate(
        {
            "leo": LEOConfig.model_validate(small | {"decoder_skip": True, "inner_lr": 0.3}),
            "pretrain_steps": 6,
            "pretrain_batch": 16,
            "episode_steps": 4,
            "images_per_step": 60,
            "ways": (3, 5),
            "shots": (1, 2),
            "query": 2,
            "validate_every": 2,
        }
        | changes
    )
