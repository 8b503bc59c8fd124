"""What is done to a trained model of drawings before it is calibrated and measured. Nothing here trains a weight."""

from collections.abc import Mapping

from torch import nn

from model.config import LEOConfig
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig, SetAfterTraining
from model.training.low_rank import with_low_rank_decoder


def finish(leo: LatentEmbeddingOptimization, config: DrawingTrainConfig) -> LatentEmbeddingOptimization:
    """Return the model that a run ends with: its decoder at the run's `low_rank`, its settings `after_training`.

    Raises what `with_low_rank_decoder` and `with_settings` raise.
    """
    if config.low_rank is not None:
        leo = with_low_rank_decoder(leo, config.low_rank)
    return with_settings(leo, config.after_training)


def with_settings(
    leo: LatentEmbeddingOptimization, changes: Mapping[str, float] | Mapping[SetAfterTraining, float]
) -> LatentEmbeddingOptimization:
    """Return a LEO in evaluation mode that has the same weights and other settings, on the same device.

    A new `inner_lr` becomes alpha, whatever was learned. Raises `pydantic.ValidationError` if a value is impossible.
    """
    changed = LatentEmbeddingOptimization(config=LEOConfig.model_validate(leo.config.model_dump() | dict(changes)))
    changed.load_state_dict(leo.state_dict())
    if "inner_lr" in changes:
        nn.init.constant_(changed.alpha, changed.config.inner_lr)
    return changed.to(leo.alpha.device).eval()
