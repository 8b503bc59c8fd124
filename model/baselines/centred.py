"""Any method on centred features: the mean of a task's support, which all its images share, is subtracted."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.extractors import LeoExtractor
from model.baselines.method import Method


@dataclass(frozen=True)
class CentredState:
    """The mean of each task's support, and the state of the method behind it."""

    centre: Tensor  # [T, 1, F]
    state: Any


class Centred:
    """A method on features from which the support's mean is subtracted, and which are then normalised.

    SimpleShot's "CL2N" (Wang et al., 2019) does the same with the mean of the training set.
    """

    def __init__(self, method: Method, extractor: LeoExtractor) -> None:
        self.method, self.extractor = method, extractor
        self.name = f"{method.name}, centred"

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> CentredState:
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        centre = (support * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)  # [T, 1, F]
        return CentredState(centre, self.method.adapt(F.normalize(support - centre, dim=-1), membership))

    @torch.no_grad()
    def logits(self, state: CentredState, queries: Tensor) -> Tensor:
        logits: Tensor = self.method.logits(state.state, F.normalize(queries - state.centre, dim=-1))
        return logits
