"""The shipped models, and one small enough for hand arithmetic."""

import torch

from app.settings import PROJECT
from model.config import LEOConfig
from model.leo import LatentEmbeddingOptimization

WEIGHTS = PROJECT / "weights"


def tiny(**changes: object) -> LatentEmbeddingOptimization:
    """Return a LEO of few numbers: F = 8, L = 32."""
    torch.manual_seed(0)
    shape = {"resolution": 8, "widths": (8, 8, 8), "decoder_hidden": (16, 24), "latent_dim": 32}
    return LatentEmbeddingOptimization(config=LEOConfig.model_validate(shape | changes))
