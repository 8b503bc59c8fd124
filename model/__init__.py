"""LEO in PyTorch: the algorithm, its networks, training and evaluation. Knows nothing of HTTP."""

from model.config import LEOConfig
from model.leo import LatentEmbeddingOptimization

__all__ = ["LEOConfig", "LatentEmbeddingOptimization"]
