"""Whether a probability of 0.9 is right nine times in ten, and one number that makes it so.

Dividing all logits by a temperature T changes no answer, only how sure it sounds (Guo et al., 2017).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from model.baselines.latent import Leo
from model.evaluation.accuracy import (
    ExtractedFeatures,
    Pictures,
    Setting,
    answer_tasks,
    extract_features,
    feasible_settings,
    sample_tasks,
)
from model.leo import LatentEmbeddingOptimization

BINS = 15

#: What `temperature_of` fits on: few ways and many, one example and several, equally weighted.
MIX = tuple(Setting(way, shots, 10) for way in (5, 20, 50) for shots in ((1, 1), (5, 5), (1, 5)))


@dataclass(frozen=True)
class Reliability:
    """Queries by their top class's probability, in bins of equal width over 0..1."""

    counts: list[int]
    confidence: list[float | None]  # mean probability in each bin, None where it is empty
    accuracy: list[float | None]

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence| averaged over queries, bin by bin."""
        gaps = [
            count * abs(accuracy - confidence)
            for count, confidence, accuracy in zip(self.counts, self.confidence, self.accuracy, strict=True)
            if confidence is not None and accuracy is not None
        ]
        return sum(gaps) / sum(self.counts)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ece": self.ece}


def reliability(confidences: Tensor, correct: Tensor, bins: int = BINS) -> Reliability:
    """Top probabilities and whether that class was right, both [M]."""
    place = (confidences * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(place, minlength=bins)
    confidence = torch.bincount(place, confidences.double(), minlength=bins) / counts
    accuracy = torch.bincount(place, correct.double(), minlength=bins) / counts
    return Reliability(counts.tolist(), _or_none(confidence), _or_none(accuracy))


def fit_temperature(answers: Sequence[tuple[Tensor, Tensor]]) -> float:
    """T that minimises the mean negative log-likelihood of logits / T.

    `answers` holds logits [M,N] and labels [M], N its own in each; each counts the same, however many.
    Raises `ValueError` where no T within 0.01 to 100 is best, as when every answer is right.
    """
    parts = [(logits.double(), labels) for logits, labels in answers]

    def loss(log_t: float) -> float:
        return sum(
            float(torch.nn.functional.cross_entropy(logits / math.exp(log_t), labels)) for logits, labels in parts
        )

    low, high = math.log(0.01), math.log(100)
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x)
    if min(loss(low), loss(high)) <= loss(found) + 1e-9:
        raise ValueError(f"no temperature from 0.01 to 100 is best; it runs to {math.exp(found):.3g}")
    return math.exp(found)


def fit_sharpness(answers: Sequence[tuple[Tensor, Tensor]], shots: Sequence[float]) -> tuple[float, float, float]:
    """T, g and h, within bounds, that minimise the mean negative log-likelihood of logits * shots^g * ways^h / T.

    As `fit_temperature`, with the shots each of the `answers` came of; their ways are the logits'.
    """
    parts = [(logits.double(), labels) for logits, labels in answers]

    def loss(tried: Sequence[float]) -> float:
        log_t, by_shots, by_ways = tried
        scales = [
            k**by_shots * logits.shape[1] ** by_ways / math.exp(log_t)
            for k, (logits, _) in zip(shots, parts, strict=True)
        ]
        return sum(
            float(torch.nn.functional.cross_entropy(logits * scale, labels))
            for (logits, labels), scale in zip(parts, scales, strict=True)
        )

    bounds = [(math.log(0.01), math.log(100)), (-2.0, 2.0), (-2.0, 2.0)]
    found = minimize(loss, [0.0, 0.0, 0.0], bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-10}).x
    return math.exp(found[0]), float(found[1]), float(found[2])


def temperature_of(
    leo: LatentEmbeddingOptimization,
    validation: Pictures,
    settings: Iterable[Setting] = MIX,
    episodes: int = 200,
    seed: int = 1,
) -> float:
    """The temperature of a LEO in evaluation mode, fitted on drawings it was not trained on.

    Settings that the data is too small for are left out; `DataError` if that leaves none. Pure and
    seeded. The seed should not be the one that calibration is measured with.
    """
    method, extracted = Leo(leo), extract_features(leo, validation)
    return fit_temperature(
        [_answers(method, extracted, setting, episodes, seed) for setting in feasible_settings(extracted, settings)]
    )


def sharpness_of(
    leo: LatentEmbeddingOptimization,
    sources: Iterable[ExtractedFeatures],
    settings: Iterable[Setting],
    episodes: int = 200,
    seed: int = 1,
) -> tuple[float, float, float]:
    """`fit_sharpness` of a LEO in evaluation mode over several data sets, each possible setting of each alike."""
    method, settings = Leo(leo), tuple(settings)
    chosen = [(extracted, setting) for extracted in sources for setting in feasible_settings(extracted, settings)]
    answers = [_answers(method, extracted, setting, episodes, seed) for extracted, setting in chosen]
    return fit_sharpness(answers, [sum(setting.shots) / 2 for _, setting in chosen])


def _answers(
    method: Leo, extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Logits [M,N] and labels [M] over the tasks of a setting."""
    parts = list(answer_tasks(method, extracted, sample_tasks(extracted, setting, episodes, seed)))
    logits = torch.cat([part.logits.flatten(0, 1).cpu() for part in parts])
    return logits, torch.cat([part.labels.flatten().cpu() for part in parts])


def _or_none(values: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
