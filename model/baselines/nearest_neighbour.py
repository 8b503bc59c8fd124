"""Nearest neighbour: the class of the most similar support image (Cover and Hart, 1967)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.extractors import LeoExtractor
from model.baselines.method import without_absent


@dataclass(frozen=True)
class NearestNeighbourState:
    """The support features themselves."""

    directions: Tensor  # [T, S, F], normalised
    membership: Tensor  # [T, S, N]


class NearestNeighbour:
    """Nearest neighbour by cosine: a class's logit is 10 times the largest cosine between query and support."""

    name = "nearest neighbour"

    def __init__(self, extractor: LeoExtractor) -> None:
        self.extractor = extractor

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> NearestNeighbourState:
        return NearestNeighbourState(F.normalize(support, dim=-1), membership)

    @torch.no_grad()
    def logits(self, state: NearestNeighbourState, queries: Tensor) -> Tensor:
        cosines = F.normalize(queries, dim=-1) @ state.directions.mT  # [T, Q, S]
        nearest = [
            cosines.masked_fill((state.membership[..., n] == 0).unsqueeze(1), -1.0).amax(dim=-1)
            for n in range(state.membership.shape[-1])
        ]
        return without_absent(10 * torch.stack(nearest, dim=-1), state.membership)  # [T, Q, N]
