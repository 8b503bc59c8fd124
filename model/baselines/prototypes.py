"""Nearest class mean, by angle and by distance: nothing is adapted (Snell et al., 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.method import Phi, class_means, without_absent


@dataclass(frozen=True)
class Means:
    """Class means [T,N,F] and the support set's membership [T,S,N]."""

    means: Tensor
    membership: Tensor


class CosinePrototypes:
    """The class whose mean points most nearly where the query does; logits are 10 times the cosine."""

    def __init__(self, extractor: Phi, name: str = "cosine prototypes") -> None:
        self.extractor, self.name = extractor, name

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Means:
        return Means(class_means(support, membership), membership)

    @torch.no_grad()
    def logits(self, state: Means, queries: Tensor) -> Tensor:
        cosines = F.normalize(queries, dim=-1) @ F.normalize(state.means, dim=-1).mT  # [T, Q, N]
        return without_absent(10 * cosines, state.membership)


class EuclideanPrototypes:
    """The class whose mean lies nearest; logits are minus the squared distance."""

    name = "Euclidean prototypes"

    def __init__(self, extractor: Phi) -> None:
        self.extractor = extractor

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Means:
        return Means(class_means(support, membership), membership)

    @torch.no_grad()
    def logits(self, state: Means, queries: Tensor) -> Tensor:
        # |x - m|² = |x|² - 2 x m + |m|²; the first is the same for all classes.
        lengths = state.means.square().sum(dim=-1).unsqueeze(1)  # [T, 1, N]
        return without_absent(2 * queries @ state.means.mT - lengths, state.membership)
