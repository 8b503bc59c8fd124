"""The choice of the logistic head's L2: its accuracy by strength of regularisation, on drawings and on photos."""

from collections.abc import Iterable, Sequence

import torch

from model.baselines.extractors import BackboneExtractor, LeoExtractor
from model.baselines.logistic import LogisticHead
from model.data.episodes import Episodes
from model.data.omniglot import Drawings
from model.data.photos import Photos
from model.evaluation.accuracy import Setting, accuracy_per_task, five_way_settings, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, extract
from model.leo import LatentEmbeddingOptimization
from model.training.photo_validation import extract_by_source

DRAWING_STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
PHOTO_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)


def accuracy_by_l2_on_drawings(
    leo: LatentEmbeddingOptimization, training: Drawings, episodes: int = 200, seed: int = 0
) -> dict[float, float]:
    """Measure the head's mean accuracy for each strength, on difficult tasks of training classes.

    The tasks have up to 20 ways within one alphabet, and one shot or five. On other tasks nearly all training classes
    are told apart. Raises `model.data.sources.DataError` if classes have fewer than 10 drawings.
    """
    extractor = LeoExtractor(leo)
    extracted = extract(extractor, training, leo.config.resolution, leo.alpha.device)
    way = min(20, int(extracted.groups.bincount().max()))
    settings = [Setting(way, (shot, shot), 5, "alphabet") for shot in (1, 5)]
    tasks = [(extracted, sample_tasks(extracted, setting, episodes, seed)) for setting in settings]
    return _accuracy_by_l2(extractor, DRAWING_STRENGTHS, tasks)


def accuracy_by_l2_on_photos(
    leo: LatentEmbeddingOptimization, validation: Photos, episodes: int = 200
) -> dict[float, float]:
    """Measure the head's mean accuracy for each strength, on validation tasks of each source: 5-way, 1, 5 and 10 shots.

    Raises `model.data.sources.DataError` if a source is too small for such tasks.
    """
    extractor = BackboneExtractor(leo)
    tasks = [
        (extracted, sample_tasks(extracted, setting, episodes, seed=1))
        for extracted in extract_by_source(extractor, validation)
        for setting in five_way_settings(extracted, (1, 5, 10))
    ]
    return _accuracy_by_l2(extractor, PHOTO_STRENGTHS, tasks)


def best_l2(accuracy_by_l2: dict[float, float]) -> float:
    """Return the strength with the highest accuracy; the strongest of several."""
    return max(accuracy_by_l2, key=lambda l2: (accuracy_by_l2[l2], l2))


def _accuracy_by_l2(
    extractor: LeoExtractor, strengths: Iterable[float], tasks: Sequence[tuple[ExtractedFeatures, Episodes]]
) -> dict[float, float]:
    accuracy_by_l2 = {}
    for l2 in strengths:
        method = LogisticHead(extractor, l2)
        accuracies = [accuracy_per_task(method, extracted, some) for extracted, some in tasks]
        accuracy_by_l2[l2] = float(torch.cat(accuracies).mean())
    return accuracy_by_l2
