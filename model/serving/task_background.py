"""The background of one task, with its negatives, for what answers a single task: exports and the command line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.background import Background
from model.leo import LatentEmbeddingOptimization
from model.negatives import Lines


def code_scale(leo: LatentEmbeddingOptimization) -> float | None:
    """The scale s of a LEO whose logits are s times the product of an encoded picture and a code; None for others.

    The negatives of its tasks lower `known` as `model.negatives` has it, those of others as `model.background` has it.
    """
    return float(leo.decoder.log_scale.detach().exp()) if codes_are_encoded(leo) else None


def codes_are_encoded(leo: LatentEmbeddingOptimization) -> bool:
    """Whether a class's code is an encoded picture, and the decoder takes it as one."""
    return leo.decoder.is_plain and leo.config.decoder_tied and leo.encoder.features is None


@dataclass(frozen=True, eq=False)
class TaskBackground:
    """What the pictures of one task are scored against."""

    background: Background  # of the model, perhaps joined by the task's negatives
    lines: Lines | None  # or lines to these

    def score(self, features: NDArray[np.float32], best: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the scores [Q] of features [Q,F] whose highest logit among the task's classes is `best` [Q]."""
        scores = self.background.score(features, best)
        return scores if self.lines is None else scores - self.lines.losses(features)


def background_of_task(
    leo: LatentEmbeddingOptimization,
    heads: NDArray[np.float32],
    codes: NDArray[np.float32],
    ways: int,
    examples: float,
) -> TaskBackground | None:
    """The background by which a task's pictures are scored; None if the LEO has none.

    `heads` [N+M,F+1] and `codes` [N+M,L] are those of the task's N `ways`, then of its negatives, perhaps none.
    `examples` is how many the classes have in all.
    """
    if leo.background is None:
        return None
    if len(heads) == ways:
        return TaskBackground(leo.background, None)
    scale = code_scale(leo)
    if scale is None:
        return TaskBackground(leo.background.joined_by(heads[ways:]), None)
    return TaskBackground(leo.background, Lines.of_task(heads, codes, ways, examples, scale))
