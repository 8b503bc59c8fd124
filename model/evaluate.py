"""How accurate a LEO is on tasks it has not seen, with intervals, from seeded episodes."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from model.augment import to_side
from model.data.episodes import sample_episodes
from model.data.omniglot import Drawings
from model.leo import LatentEmbeddingOptimization, one_hot

EPISODES_AT_ONCE = 100
IMAGES_AT_ONCE = 32  # phi's activations of more leave a CPU's cache


@dataclass(frozen=True)
class Row:
    """Accuracy (0-1) over the episodes of one setting, and half its 95 % interval."""

    way: int
    shot: int
    query: int
    episodes: int
    inner_steps: int
    accuracy: float
    ci95: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Features:
    """phi's view of a data set, computed once: [C,D,F] for the classifier and for the encoder."""

    classifier: Tensor
    encoder: Tensor
    counts: Tensor  # [C]


@torch.no_grad()
def extract(leo: LatentEmbeddingOptimization, drawings: Drawings) -> Features:
    """Features of every drawing under a LEO in evaluation mode."""
    device = leo.alpha.device
    images = to_side(drawings.images, leo.config.resolution)  # [C, D, R, R]

    def through(own: bool) -> Tensor:
        phi = leo.encoder_phi if own else leo.classifier.phi
        parts = images.flatten(0, 1).unsqueeze(1).split(1024 if device.type == "cuda" else IMAGES_AT_ONCE)
        features = [leo.features(phi, part.to(device).float() / 255) for part in parts]
        return torch.cat(features).reshape(*images.shape[:2], -1)

    classifier = through(own=False)
    encoder = through(own=True) if leo.encoder.features is not None else classifier
    return Features(classifier, encoder, drawings.counts)


@torch.no_grad()
def evaluate(
    leo: LatentEmbeddingOptimization,
    features: Features,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    seed: int = 0,
    inner_steps: int | None = None,
) -> Row:
    """Accuracy over `episodes` random tasks; the same seed draws the same tasks for any model.

    Raises `model.data.omniglot.DataError` where the data is too small for such tasks.
    """
    steps = leo.config.inner_steps if inner_steps is None else inner_steps
    # Way, shot and query take part in the seed, so that rows are independent draws.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + way * 10_007 + shot * 101 + query)
    accuracies: list[Tensor] = []
    while (done := sum(len(a) for a in accuracies)) < episodes:
        tasks = sample_episodes(features.counts, min(EPISODES_AT_ONCE, episodes - done), way, shot, query, generator)
        support, labels, queries, query_labels = tasks.gather(features.classifier)
        membership = one_hot(labels.to(support.device), way)
        codes = leo.encode(tasks.gather(features.encoder)[0], membership)
        adapted = leo.adapt(codes, support, membership, steps)
        logits = leo.logits(adapted.codes, queries, membership)  # [T, N*Q, N]
        hits = logits.argmax(dim=-1) == query_labels.to(logits.device)
        accuracies.append(hits.double().mean(dim=1).cpu())
    mean, ci95 = mean_and_ci95(torch.cat(accuracies))
    return Row(way, shot, query, episodes, steps, mean, ci95)


def evaluate_many(
    leo: LatentEmbeddingOptimization,
    features: Features,
    ways: Iterable[int],
    shots: Iterable[int],
    query: int,
    episodes: int,
    seed: int = 0,
    inner_steps: int | None = None,
) -> Iterable[Row]:
    """A row for each of ways x shots, as it is done."""
    shots = list(shots)
    for way in ways:
        for shot in shots:
            yield evaluate(leo, features, way, shot, query, episodes, seed, inner_steps)


def mean_and_ci95(values: Tensor) -> tuple[float, float]:
    """Mean of n values and half its 95 % interval, 1.96 s / sqrt(n)."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(len(values)))
