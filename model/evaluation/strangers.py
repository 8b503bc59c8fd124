"""Telling queries of a task's classes from strangers: scores that are high where a query belongs."""

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from model.baselines.latent import Adapted
from model.baselines.method import class_means
from model.evaluation.accuracy import mean_and_ci95

#: The one that results tables show: the best on validation alphabets at every way and shot.
SCORE = "mean_cosine"
PARTS = 20  # of the tasks, for the interval


def scores(
    state: Adapted,
    support: Tensor,
    logits: Tensor,
    queries: Tensor,
    temperature: float | Tensor,
) -> dict[str, Tensor]:
    """By name, [T,Q] each. Features of support [T,S,F] and queries [T,Q,F], the queries' logits [T,Q,N].

    All but `mean_cosine` need only what a served task keeps: its decoded head.
    """
    top = logits.topk(2, dim=-1).values  # [T, Q, 2]
    heads = F.normalize(state.rows[..., :-1], dim=-1)  # [T, N, F]
    means = F.normalize(class_means(support, state.membership), dim=-1)
    directions = F.normalize(queries, dim=-1)
    return {
        "probability": (logits / temperature).softmax(dim=-1).amax(dim=-1),
        "logit": top[..., 0],
        "margin": top[..., 0] - top[..., 1],
        "energy": logits.logsumexp(dim=-1),
        "head_cosine": (directions @ heads.mT).amax(dim=-1),
        "mean_cosine": (directions @ means.mT).amax(dim=-1),
    }


def auroc(known: Tensor, strangers: Tensor) -> float:
    """Chance that a known query scores higher than a stranger, ties counting half: area under the ROC curve."""
    ranks = rankdata(torch.cat([known.flatten(), strangers.flatten()]).double().numpy())
    n, m = known.numel(), strangers.numel()
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auroc_and_ci95(known: Tensor, strangers: Tensor) -> tuple[float, float]:
    """Over all tasks together, [E,Q] and [E,U], as one threshold for all of them meets it.

    The interval comes from the AUROC of 20 equal parts of the tasks.
    """
    parts = zip(known.chunk(PARTS), strangers.chunk(PARTS), strict=True)
    _, ci95 = mean_and_ci95(torch.tensor([auroc(a, b) for a, b in parts], dtype=torch.double))
    return auroc(known, strangers), ci95
