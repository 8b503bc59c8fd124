"""Prototypes: classification by the nearest class mean, by cosine or by distance (Snell et al., 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.extractors import LeoExtractor
from model.baselines.method import class_means, without_absent


@dataclass(frozen=True)
class PrototypeState:
    """The class means of each task."""

    means: Tensor  # [T, N, F]
    membership: Tensor  # [T, S, N]


class CosinePrototypes:
    """Prototypes by cosine: a class's logit is 10 times the cosine between the query and the class mean."""

    def __init__(self, extractor: LeoExtractor, name: str = "cosine prototypes") -> None:
        self.extractor, self.name = extractor, name

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> PrototypeState:
        return PrototypeState(class_means(support, membership), membership)

    @torch.no_grad()
    def logits(self, state: PrototypeState, queries: Tensor) -> Tensor:
        cosines = F.normalize(queries, dim=-1) @ F.normalize(state.means, dim=-1).mT  # [T, Q, N]
        return without_absent(10 * cosines, state.membership)


class EuclideanPrototypes:
    """Prototypes by distance: logits are minus the squared distance to the class mean, plus a constant of the query."""

    name = "Euclidean prototypes"

    def __init__(self, extractor: LeoExtractor) -> None:
        self.extractor = extractor

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> PrototypeState:
        return PrototypeState(class_means(support, membership), membership)

    @torch.no_grad()
    def logits(self, state: PrototypeState, queries: Tensor) -> Tensor:
        # |x - m|² = |x|² - 2 x m + |m|²; the first term is the same for all classes and left out.
        squared_norms = state.means.square().sum(dim=-1).unsqueeze(1)  # [T, 1, N]
        return without_absent(2 * queries @ state.means.mT - squared_norms, state.membership)
