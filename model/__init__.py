"""LEO (Latent Embedding Optimization) in PyTorch: algorithm, networks, training, evaluation and fast inference."""

from model.config import LEOConfig
from model.leo import LatentEmbeddingOptimization

__all__ = ["LEOConfig", "LatentEmbeddingOptimization"]
