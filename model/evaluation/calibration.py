"""Calibration: how well probabilities match the share of correct answers, and fitting a temperature so that they do.

Dividing all logits by a temperature T changes the probabilities but not which class is the most likely one (Guo et al.,
2017).
"""

import math
from collections.abc import Iterable, Sequence

import torch
from scipy.optimize import minimize
from torch import Tensor

from model.baselines.leo import LeoMethod
from model.evaluation.accuracy import Setting, classify_tasks, feasible_settings, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures
from model.leo import LatentEmbeddingOptimization

#: The tasks of drawings that probabilities are fitted on, weighted equally: few and many ways, one shot and several,
#: classes that are easily told apart and classes of one alphabet.
DRAWING_SETTINGS = (
    *(Setting(way, shots, 10) for way in (5, 20, 50) for shots in ((1, 1), (5, 5), (10, 10), (1, 5))),
    *(Setting(way, shots, 10, "alphabet") for way in (5, 20) for shots in ((1, 1), (5, 5), (10, 10), (1, 5))),
)
LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried


def fit_sharpness(parts: Sequence[tuple[Tensor, Tensor]], shots: Sequence[float]) -> tuple[float, float, float]:
    """Find T, g and h that minimise the mean negative log-likelihood of logits * shots^g * ways^h / T.

    `parts` is as for `fit_temperature`; `shots` holds the number of shots behind each pair. The number of ways is that
    of the logits. T is searched within 0.01 to 100, g and h within -2 to 2.

    Raises `ValueError` if T ends at one of its bounds, as when every answer is correct.
    """
    parts = [(logits.double(), labels) for logits, labels in parts]

    def loss(candidate: Sequence[float]) -> float:
        log_t, by_shots, by_ways = candidate
        scales = [
            k**by_shots * logits.shape[1] ** by_ways / math.exp(log_t)
            for k, (logits, _) in zip(shots, parts, strict=True)
        ]
        return sum(
            float(torch.nn.functional.cross_entropy(logits * scale, labels))
            for (logits, labels), scale in zip(parts, scales, strict=True)
        )

    low, high = math.log(LOWEST), math.log(HIGHEST)
    bounds = [(low, high), (-2.0, 2.0), (-2.0, 2.0)]
    best = minimize(loss, [0.0, 0.0, 0.0], bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-10}).x
    if min(loss([end, *best[1:]]) for end in (low, high)) <= loss(best) + 1e-9:
        raise ValueError(
            f"no temperature from {LOWEST} to {HIGHEST:.0f} fits best, the fit ends at {math.exp(best[0]):.3g}: "
            "use harder tasks or data"
        )
    return math.exp(best[0]), float(best[1]), float(best[2])


def calibrate(
    leo: LatentEmbeddingOptimization,
    sources: Iterable[ExtractedFeatures],
    settings: Iterable[Setting],
    episodes: int = 200,
    seed: int = 1,
) -> dict[str, float]:
    """Fit the probabilities of a LEO in evaluation mode to tasks of data sets that it was not trained on.

    Returns values of `LEOConfig` by name: `temperature`, `shot_sharpness` and `way_sharpness`. The LEO is not changed.
    Every pair of a data set and a setting that it is large enough for counts the same. Use another seed than the one
    that calibration is measured with: else both see the same tasks.

    Raises `DataError` if a data set is too small for all settings, and what `fit_sharpness` raises.
    """
    method, settings = LeoMethod(leo), tuple(settings)
    chosen = [(extracted, setting) for extracted in sources for setting in feasible_settings(extracted, settings)]
    parts = [_logits_and_labels(method, extracted, setting, episodes, seed) for extracted, setting in chosen]
    fitted = fit_sharpness(parts, [sum(setting.shots) / 2 for _, setting in chosen])
    names = ("temperature", "shot_sharpness", "way_sharpness")
    return {name: round(value, 4) for name, value in zip(names, fitted, strict=True)}


def _logits_and_labels(
    method: LeoMethod, extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Classify the tasks of a setting: logits [M,N] and labels [M] of all their queries."""
    parts = list(classify_tasks(method, extracted, sample_tasks(extracted, setting, episodes, seed)))
    logits = torch.cat([part.logits.flatten(0, 1).cpu() for part in parts])
    return logits, torch.cat([part.labels.flatten().cpu() for part in parts])
