"""Calibrating `known`: choosing background classes, and measuring how pictures of a task's own classes score."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor

from model.background import Background
from model.baselines.leo import LeoMethod
from model.data.photos import Photos
from model.data.sources import DataError
from model.evaluation.accuracy import ClassifiedTasks, Setting, classify_tasks, feasible_settings, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, Pictures, extract_leo_features
from model.leo import LatentEmbeddingOptimization

BACKGROUND_CLASSES = 64  # more separate hardly better
IMAGES_A_CLASS = 4  # of which a class's heads are made
TASKS_A_CLASS = 2  # in which each training class lends its head to the background, about
ROUNDS = 20  # of k-means
TASKS = 200  # 5-way tasks of each kind whose queries are scored; fewer of more ways, so that all kinds count the same
SHOTS = (1, 2, 3, 5, 10)
LEVELS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


def calibrate_on(leo: LatentEmbeddingOptimization, pictures: Pictures) -> Background:
    """Make the background of a LEO in evaluation mode from the data that it was trained on, by its own splits.

    Raises `DataError` if that is too small.
    """
    training, validation = pictures.split("train").first(IMAGES_A_CLASS), pictures.split("validation")
    return calibrate_known(leo, _extract_by_source(leo, training), _extract_by_source(leo, validation))


def _extract_by_source(leo: LatentEmbeddingOptimization, pictures: Pictures) -> list[ExtractedFeatures]:
    parts = pictures.by_source() if isinstance(pictures, Photos) else [pictures]
    return [extract_leo_features(leo, part) for part in parts]


def calibrate_known(
    leo: LatentEmbeddingOptimization,
    training: Iterable[ExtractedFeatures],
    validation: Sequence[ExtractedFeatures],
    tasks: int = TASKS,
    seed: int = 1,
) -> Background:
    """Make the background of a LEO in evaluation mode.

    Its classes come from data sets that the LEO was trained on, its distribution of scores from others, each of which
    counts the same. Raises `DataError` if no data set of a kind is large enough for tasks.
    """
    heads = background_heads(leo, training, seed)
    background = Background(heads, leo.config.temperature, *(np.empty(0, dtype=np.float32) for _ in range(3)))
    shots, quantiles = [], []
    for shot in SHOTS:
        scores = own_scores(leo, background, validation, shot, tasks, seed)
        if len(scores):
            shots.append(shot)
            quantiles.append(np.quantile(scores, LEVELS))
    if not shots:
        raise DataError("the data is too small to measure how pictures of a task's own classes score: add pictures")
    rows = (np.array(values, dtype=np.float32) for values in (shots, LEVELS, quantiles))
    return Background(heads, leo.config.temperature, *rows)


def background_heads(
    leo: LatentEmbeddingOptimization, training: Iterable[ExtractedFeatures], seed: int
) -> NDArray[np.float32]:
    """Make heads [B,F+1] that stand for all classes of some data sets: the centres of clusters of their heads.

    Each head is that of one class in a 5-way 1-shot task.
    """
    method = LeoMethod(leo)
    heads: list[Tensor] = []
    for extracted in training:
        (setting,) = feasible_settings(extracted, [Setting(5, (1, 1), 1)])
        number = -(-len(extracted.counts) * TASKS_A_CLASS // setting.way)
        tasks = sample_tasks(extracted, setting, number, seed)
        heads += [part.state.heads.flatten(0, 1).cpu() for part in classify_tasks(method, extracted, tasks)]
    if not heads:
        raise DataError("no data to take background classes from: give at least one data set")
    every = torch.cat(heads).double().numpy()  # [M, F+1]
    centres, _ = kmeans2(every, min(BACKGROUND_CLASSES, len(every)), iter=ROUNDS, minit="++", seed=seed)
    found: NDArray[np.float32] = centres.astype(np.float16).astype(np.float32)  # as they will be stored
    return found


def own_scores(
    leo: LatentEmbeddingOptimization,
    background: Background,
    validation: Iterable[ExtractedFeatures],
    shot: int,
    tasks: int,
    seed: int,
) -> NDArray[np.float32]:
    """Score pictures of the tasks' own classes, [M]: of few ways and many, with classes from anywhere or of one group.

    Empty if no data set is large enough for tasks of so many shots.
    """
    method, scores = LeoMethod(leo), []
    for extracted in validation:
        for setting in settings_of_shot(extracted, shot):
            sampled = sample_tasks(extracted, setting, max(1, tasks * 5 // setting.way), seed)
            scores += [score_queries(background, method, part) for part in classify_tasks(method, extracted, sampled)]
    return torch.cat([part.flatten() for part in scores]).numpy() if scores else np.empty(0, dtype=np.float32)


def settings_of_shot(extracted: ExtractedFeatures, shot: int) -> list[Setting]:
    """Return the kinds of tasks of so many shots that a data set is large enough for, perhaps none."""
    query = min(10, int(extracted.counts.max()) - shot)
    if query < 1:
        return []
    wanted = [Setting(way, (shot, shot), query, within) for within in (None, "alphabet") for way in (5, 20)]
    try:
        return [each for each in feasible_settings(extracted, wanted) if each.shots == (shot, shot)]
    except DataError:
        return []


def score_queries(background: Background, method: LeoMethod, part: ClassifiedTasks) -> Tensor:
    """Score all queries of some tasks against the background, [T,Q]."""
    return score(background, method.classifier_features(part.queries), part.logits)


def known(background: Background, features: Tensor, logits: Tensor, shots: Sequence[float]) -> Tensor:
    """Compute what the service answers as `known` for features [T,Q,F] and logits [T,Q,N]: [T,Q] on the host.

    `shots` [T] is the mean number of examples of a class in each task.
    """
    return known_of_scores(background, score(background, features, logits), shots)


def known_of_scores(background: Background, scores: Tensor, shots: Sequence[float]) -> Tensor:
    """Turn the scores [T,Q] of tasks of so many shots [T] into `known`, [T,Q]."""
    shares = [background.known(own.numpy(), each) for own, each in zip(scores, shots, strict=True)]
    return torch.from_numpy(np.stack(shares))


def score(background: Background, features: Tensor, logits: Tensor, negatives: Tensor | None = None) -> Tensor:
    """Score features [T,Q,F] with the logits [T,Q,N] of their tasks against the background, [T,Q] on the host.

    `negatives` [T,M,F+1] are heads of the tasks' negatives.
    """
    best, of_negatives = logits.amax(dim=-1), None  # [T, Q]
    if negatives is not None:
        by_negatives = features @ negatives[..., :-1].mT + negatives[..., -1].unsqueeze(1)  # [T, Q, M]
        of_negatives = background.of_negatives(by_negatives.flatten(0, 1).cpu().numpy())
    arrays = (features.flatten(0, 1).cpu().numpy(), best.flatten().cpu().numpy())
    scores = background.score(*arrays, of_negatives)
    return torch.from_numpy(scores).view(best.shape)
