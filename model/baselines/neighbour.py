"""The class of the single most similar example (Cover and Hart, 1967)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.method import Phi, without_absent


@dataclass(frozen=True)
class Examples:
    """Support features of length 1, [T,S,F], and their membership [T,S,N]."""

    directions: Tensor
    membership: Tensor


class NearestNeighbour:
    """Each class is as near as its nearest example; logits are 10 times the cosine."""

    name = "nearest neighbour"

    def __init__(self, extractor: Phi) -> None:
        self.extractor = extractor

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Examples:
        return Examples(F.normalize(support, dim=-1), membership)

    @torch.no_grad()
    def logits(self, state: Examples, queries: Tensor) -> Tensor:
        cosines = F.normalize(queries, dim=-1) @ state.directions.mT  # [T, Q, S]
        nearest = [
            cosines.masked_fill((state.membership[..., n] == 0).unsqueeze(1), -1.0).amax(dim=-1)
            for n in range(state.membership.shape[-1])
        ]
        return without_absent(10 * torch.stack(nearest, dim=-1), state.membership)  # [T, Q, N]
