"""A training run on drawings that takes seconds."""

from pathlib import Path
from typing import Any

import torch

from model.config import LEOConfig
from model.data.omniglot import Drawings
from model.training.config import DrawingTrainConfig
from model.training.drawings import DrawingTrainer


def run_config(**changes: object) -> DrawingTrainConfig:
    """Return the settings of ten steps of a tiny model."""
    small = {"resolution": 14, "widths": (8, 8, 8), "latent_dim": 32, "decoder_hidden": (16, 24)}
    return DrawingTrainConfig.model_validate(
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


def trainer(drawings: Drawings, folder: Path, config: DrawingTrainConfig, **options: Any) -> DrawingTrainer:
    """Return a run on the data set's training and validation alphabets, on the CPU."""
    return DrawingTrainer(
        config, drawings.split("train"), drawings.split("validation"), folder, torch.device("cpu"), **options
    )
