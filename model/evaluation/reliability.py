"""How well probabilities match the share of correct answers."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: queries in bins of equal width over 0..1, by the probability of their top class."""

    counts: list[int]  # queries in each bin
    confidence: list[float | None]  # mean probability in each bin; None if the bin is empty
    accuracy: list[float | None]  # share of correct answers in each bin; None if the bin is empty

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean over queries of their bin's |accuracy - confidence|."""
        gaps = [
            count * abs(accuracy - confidence)
            for count, confidence, accuracy in zip(self.counts, self.confidence, self.accuracy, strict=True)
            if confidence is not None and accuracy is not None
        ]
        return sum(gaps) / sum(self.counts)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ece": self.ece}


def reliability(confidences: Tensor, correct: Tensor, bins: int = BINS) -> Reliability:
    """Sort M queries into bins, by the probability of their top class [M] and whether it was correct [M]."""
    bin_of = (confidences * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(bin_of, minlength=bins)
    confidence = torch.bincount(bin_of, confidences.double(), minlength=bins) / counts
    accuracy = torch.bincount(bin_of, correct.double(), minlength=bins) / counts
    return Reliability(counts.tolist(), _none_for_nan(confidence), _none_for_nan(accuracy))


def _none_for_nan(values: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
