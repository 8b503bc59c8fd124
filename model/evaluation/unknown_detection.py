"""Detecting queries of unknown classes: scores that are high for a task's own classes, and their AUROC.

An unknown class is one that a task has no support image of; the literature calls this out-of-distribution detection.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from model.background import Background
from model.baselines.leo import LeoState
from model.baselines.method import class_means
from model.evaluation.accuracy import mean_and_ci95
from model.evaluation.known import known as known_share
from model.evaluation.known import shifts

#: The scores that tables of results may show, the better first: `known` needs background classes.
REPORTED_SCORES = ("known", "mean_cosine")
FALSE_REJECTION = 0.05  # share of the task's own queries that may be rejected where the foreign ones are counted
PARTS = 20  # parts of the tasks from which an interval is computed


def detection_scores(
    state: LeoState,
    support: Tensor,
    logits: Tensor,
    queries: Tensor,
    temperature: float | Tensor,
    background: Background | None,
    shots: Sequence[float],
) -> dict[str, Tensor]:
    """Compute scores by name, [T,Q] each, that are higher if a query's class is more likely one of the task's.

    Takes features of the support [T,S,F] and of queries [T,Q,F], and the queries' logits [T,Q,N]. All scores but
    `mean_cosine` need only what the service keeps of a task: its decoded head. `known` is what the service answers, and
    needs background classes. `shots` [T] is the mean number of examples of a class.
    """
    top = logits.topk(2, dim=-1).values  # [T, Q, 2]
    weights = F.normalize(state.heads[..., :-1], dim=-1)  # [T, N, F]
    means = F.normalize(class_means(support, state.membership), dim=-1)  # [T, N, F]
    directions = F.normalize(queries, dim=-1)  # [T, Q, F]
    of_background = {}
    if background is not None:
        of_tasks = shifts(background, support, state.heads, state.membership, shots)
        of_background["known"] = known_share(background, queries, logits, shots, of_tasks)
    return of_background | {
        "probability": (logits / temperature).softmax(dim=-1).amax(dim=-1),
        "logit": top[..., 0],
        "margin": top[..., 0] - top[..., 1],
        "energy": logits.logsumexp(dim=-1),
        "head_cosine": (directions @ weights.mT).amax(dim=-1),
        "mean_cosine": (directions @ means.mT).amax(dim=-1),
    }


def foreign_accepted(known: Tensor, unknown: Tensor, rejected: float = FALSE_REJECTION) -> float:
    """Return the share of unknown queries that pass, if the threshold is one below which so many known ones score."""
    threshold = np.quantile(known.double().numpy(), rejected)
    return float((unknown.double().numpy() >= threshold).mean())


def auroc(known: Tensor, unknown: Tensor) -> float:
    """Return the area under the ROC curve of scores of known and unknown classes, of any shape.

    It is the probability that a known query has a higher score than an unknown one; ties count half.
    """
    ranks = rankdata(torch.cat([known.flatten(), unknown.flatten()]).double().numpy())
    n, m = known.numel(), unknown.numel()
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auroc_and_ci95(known: Tensor, unknown: Tensor) -> tuple[float, float]:
    """Return the AUROC over all tasks together, [E,Q] and [E,U], and half its 95 % interval.

    One AUROC for all tasks tells how well one threshold serves them all. The interval is computed from the AUROCs of
    20 equal parts of the tasks.
    """
    parts = zip(known.chunk(PARTS), unknown.chunk(PARTS), strict=True)
    _, ci95 = mean_and_ci95(torch.tensor([auroc(a, b) for a, b in parts], dtype=torch.double))
    return auroc(known, unknown), ci95
