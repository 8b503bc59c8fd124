"""LEO (Latent Embedding Optimization) in PyTorch: algorithm, networks, training, evaluation and fast inference."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.config import LEOConfig
    from model.leo import LatentEmbeddingOptimization

__all__ = ["LEOConfig", "LatentEmbeddingOptimization"]


def __getattr__(name: str) -> Any:
    """Import on first use: PyTorch takes seconds, and much in this package does without."""
    if name == "LEOConfig":
        from model.config import LEOConfig

        return LEOConfig
    if name == "LatentEmbeddingOptimization":
        from model.leo import LatentEmbeddingOptimization

        return LatentEmbeddingOptimization
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
