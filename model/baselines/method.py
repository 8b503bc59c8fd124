"""The interface of a few-shot method, `adapt` and `logits`, and what several methods share."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class Method(Protocol):
    """A few-shot classifier that adapts to T tasks at once.

    Tasks may have different numbers of classes and support images: a membership row of zeros is padding, and a class
    without a support image is absent from its task.
    """

    @property
    def name(self) -> str:
        """The method's name in tables and results."""

    @property
    def extractor(self) -> Callable[[Tensor], Tensor]:
        """The part that is the same for all tasks: images [B,1,R,R] -> [B,...], mostly features [B,F].

        Methods with the same extractor share one object, so that images pass through it once for all of them.
        """

    def adapt(self, support: Tensor, membership: Tensor) -> Any:
        """Adapt to T tasks: extracted support [T,S,...] and membership [T,S,N] -> the state that `logits` takes."""

    def logits(self, state: Any, queries: Tensor) -> Tensor:
        """Classify extracted queries [T,Q,...] -> logits [T,Q,N], -inf for classes that a task does not have."""


def class_means(features: Tensor, membership: Tensor) -> Tensor:
    """Average each class's features: [T,S,F] and membership [T,S,N] -> [T,N,F], zeros for absent classes."""
    shots = membership.sum(dim=1).clamp(min=1)  # [T, N]
    return torch.einsum("tsn,tsf->tnf", membership, features) / shots.unsqueeze(-1)


def without_absent(logits: Tensor, membership: Tensor) -> Tensor:
    """Set logits [T,B,N] to -inf for classes without a support image in membership [T,S,N]."""
    return logits.masked_fill((membership.sum(dim=1) == 0).unsqueeze(1), -torch.inf)
