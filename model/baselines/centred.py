"""Any method on features that are centred on each task's own examples: what all its pictures share is taken out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.method import Method, Phi


@dataclass(frozen=True)
class Moved:
    """What was taken out, [T,1,F], and the method's own state."""

    centre: Tensor
    state: Any


class Centred:
    """Features less the mean of the support set's, then of length 1 again (as SimpleShot's "CL2N", Wang et al.,
    2019, which takes the training set's mean)."""

    def __init__(self, method: Method, extractor: Phi) -> None:
        self.method, self.extractor = method, extractor
        self.name = f"{method.name}, centred"

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Moved:
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        centre = (support * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)  # [T, 1, F]
        return Moved(centre, self.method.adapt(F.normalize(support - centre, dim=-1), membership))

    @torch.no_grad()
    def logits(self, state: Moved, queries: Tensor) -> Tensor:
        found: Tensor = self.method.logits(state.state, F.normalize(queries - state.centre, dim=-1))
        return found
