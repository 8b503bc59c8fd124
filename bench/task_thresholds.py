"""Whether a task's own support says how high its own pictures score, so that it could have a threshold of its own.

`known` is calibrated on all validation alphabets together. Of some alphabets it loses more than 5 % of the own
drawings, of others fewer. Here statistics of the support are tried as a correction. On all alphabets but one, the score
below which 5 % of a task's own queries lie is predicted from a statistic by least squares, and the threshold is set on
the scores less the prediction. Then both are used on tasks of the alphabet left out.

    python -m bench.task_thresholds --data .../images_background.zip        # some minutes on one core
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.common import WEIGHTS, write_results
from model.background import Background
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.episodes import sample_episodes, sample_unknown_classes
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.known import cohesions, score
from model.evaluation.unknown_detection import FALSE_REJECTION
from model.functional import apply_head, one_hot
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization

WAYS, QUERIES, FOREIGN = 5, 15, 5
SHOTS = (1, 5)
AT_ONCE = 20
NOTHING, SELF, VIEW_OUT, EXAMPLE_OUT, COHESION = (
    "nothing",
    "support by its own head",
    "leave one view out",
    "leave one example out",
    "cohesion of the support",
)
Scores = NDArray[np.float32]
Measured = tuple[
    Scores, Scores, dict[str, Scores]
]  # own [T,Q] and foreign [T,U] queries; statistics [T] of the support


class Scoring:
    """Scores of features by a LEO's tasks against its background."""

    def __init__(self, leo: LatentEmbeddingOptimization) -> None:
        assert leo.background is not None  # noqa: S101, the shipped model has one
        self.background: Background = leo.background
        self.method, self.without_steps = LeoMethod(leo), LeoMethod(leo, 0)

    def of_queries(self, heads: Tensor, features: Tensor, membership: Tensor) -> Tensor:
        """Scores [T,Q] by the best class of heads [T,N,F+1]."""
        return score(self.background, features, apply_head(heads, features, membership))

    def of_own_class(self, heads: Tensor, features: Tensor, membership: Tensor) -> Tensor:
        """Scores [T,S] of examples by the class that they are of."""
        logits = apply_head(heads, features, membership)  # [T, S, N]
        own = logits.masked_fill(membership == 0, -torch.inf)
        return score(self.background, features, own)

    def heads(self, method: LeoMethod, features: Tensor, membership: Tensor) -> Tensor:
        return method.adapter.adapt_stacked(features, features, membership, method.steps)[1]


def features_of_views(leo: LatentEmbeddingOptimization, drawings: Drawings) -> Tensor:
    """Features of every view of every drawing, the plain one first: [C,D,V,F]."""
    images = to_side(drawings.images, leo.config.resolution).flatten(0, 1).unsqueeze(1)
    parts = []
    with torch.no_grad():
        for some in images.split(32):
            plain = some.float() / 255
            views = torch.cat([plain.unsqueeze(1), leo.views(plain).unflatten(0, (len(plain), -1))], dim=1)
            parts.append(leo.features(leo.classifier.phi, views.flatten(0, 1)).unflatten(0, (len(plain), -1)))
    return torch.cat(parts).unflatten(0, drawings.images.shape[:2])


@torch.no_grad()
def measure(scoring: Scoring, views: Tensor, shot: int, tasks: int) -> Measured:
    """Score tasks of one alphabet, whose views [C,D,V,F] these are, and take the statistics of their support."""
    generator, counts = torch.Generator().manual_seed(shot), torch.full((len(views),), views.shape[1])
    parts: list[Measured] = []
    for _ in range(tasks // AT_ONCE):
        sampled = sample_episodes(counts, AT_ONCE, WAYS, shot, QUERIES, generator)
        others = sample_unknown_classes(counts, sampled, FOREIGN, QUERIES, generator)
        support, labels, queries, _ = sampled.gather(views)  # [T, S, V, F] and [T, Q, V, F]
        foreign = others.gather(views)[0]
        membership, mean = one_hot(labels, WAYS), support.mean(dim=2)
        heads = scoring.heads(scoring.method, mean, membership)
        own_class = scoring.of_own_class(heads, mean, membership)
        statistics = {SELF: own_class.mean(dim=1), VIEW_OUT: _tenth(_without_each_view(scoring, support, membership))}
        if shot > 1:
            statistics[EXAMPLE_OUT] = _tenth(_without_each_example(scoring, support, membership, shot))
            statistics[COHESION] = torch.tensor(cohesions(mean, membership))
        scores = [scoring.of_queries(heads, each[:, :, 0], membership).numpy() for each in (queries, foreign)]
        parts.append((scores[0], scores[1], {name: values.numpy() for name, values in statistics.items()}))
    every = {name: np.concatenate([part[2][name] for part in parts]) for name in parts[0][2]}
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), every


def _without_each_view(scoring: Scoring, support: Tensor, membership: Tensor) -> Tensor:
    """Scores [T, S V] of each view of the support by heads that were made of the other views, without steps."""
    found = []
    for view in range(support.shape[2]):
        others = [other for other in range(support.shape[2]) if other != view]
        heads = scoring.heads(scoring.without_steps, support[:, :, others].mean(dim=2), membership)
        found.append(scoring.of_own_class(heads, support[:, :, view], membership))
    return torch.cat(found, dim=1)


def _without_each_example(scoring: Scoring, support: Tensor, membership: Tensor, shot: int) -> Tensor:
    """Scores [T,S] of each example's plain view by heads that were made of the other examples, without steps."""
    found, number = [], torch.arange(support.shape[1]) % shot
    for left_out in range(shot):
        kept, out = number != left_out, number == left_out
        heads = scoring.heads(scoring.without_steps, support[:, kept].mean(dim=2), membership[:, kept])
        found.append(scoring.of_own_class(heads, support[:, out, 0], membership[:, out]))
    return torch.cat(found, dim=1)


def _tenth(scores: Tensor) -> Tensor:
    return scores.quantile(0.1, dim=1)


def left_out(measured: list[Measured], statistic: str) -> dict[str, Any]:
    """Fit on all alphabets but one, try on that one, for each in turn."""
    own_rejected, foreign_accepted = [], []
    for number, (own, foreign, statistics) in enumerate(measured):
        others = [each for other, each in enumerate(measured) if other != number]
        lowest = np.concatenate([np.quantile(each[0], FALSE_REJECTION, axis=1) for each in others])
        slope, constant = 0.0, 0.0
        if statistic != NOTHING:
            slope, constant = np.polyfit(np.concatenate([each[2][statistic] for each in others]), lowest, 1)

        def corrected(
            scores: Scores, of: dict[str, Scores], slope: float = slope, constant: float = constant
        ) -> Scores:
            shift = slope * of[statistic] + constant if statistic != NOTHING else np.zeros(len(scores), np.float32)
            difference: Scores = scores - shift[:, None]
            return difference

        threshold = np.quantile(np.concatenate([corrected(each[0], each[2]) for each in others]), FALSE_REJECTION)
        own_rejected.append(float((corrected(own, statistics) < threshold).mean()))
        foreign_accepted.append(float((corrected(foreign, statistics) >= threshold).mean()))
    return {"own_rejected": own_rejected, "foreign_accepted": foreign_accepted}


def correlation(measured: list[Measured], statistic: str) -> float:
    """How well a statistic goes with the score below which 5 % of a task's own queries lie."""
    lowest = np.concatenate([np.quantile(each[0], FALSE_REJECTION, axis=1) for each in measured])
    return float(np.corrcoef(np.concatenate([each[2][statistic] for each in measured]), lowest)[0, 1])


def main() -> None:
    """Try every statistic at every number of shots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--tasks", type=int, default=200, help="of each alphabet")
    given = parser.parse_args()
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    validation = load_drawings(given.data).split("validation")
    views, scoring = features_of_views(leo, validation), Scoring(leo)
    alphabets = list(dict.fromkeys(validation.alphabets))
    of_alphabet = [views[[each == alphabet for each in validation.alphabets]] for alphabet in alphabets]
    rows = []
    for shot in SHOTS:
        measured = [measure(scoring, own, shot, given.tasks) for own in of_alphabet]
        for statistic in (NOTHING, *measured[0][2]):
            row: dict[str, Any] = {"way": WAYS, "shot": shot, "statistic": statistic, **left_out(measured, statistic)}
            row["correlation"] = None if statistic == NOTHING else correlation(measured, statistic)
            rows.append(row)
            print(row, flush=True)
    write_results(
        "task_thresholds",
        "a threshold for each task from its support, tried on alphabets left out of the fit",
        model_version=read_info(WEIGHTS / "omniglot").version,
        tasks_of_each_alphabet=given.tasks,
        alphabets=len(alphabets),
        rows=rows,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
