"""Calibrating `known`: choosing background classes, and measuring how pictures of a task's own classes score."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor

from model.background import Background, shift_at
from model.baselines.leo import LeoMethod
from model.data.photos import Photos
from model.data.sources import DataError
from model.evaluation.accuracy import ClassifiedTasks, Setting, classify_tasks, feasible_settings, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, Pictures, extract_leo_features
from model.evaluation.support_report import report_on_support
from model.leo import LatentEmbeddingOptimization

BACKGROUND_CLASSES = 64  # more separate hardly better
IMAGES_A_CLASS = 4  # of which a class's heads are made
TASKS_A_CLASS = 2  # in which each training class lends its head to the background, about
ROUNDS = 20  # of k-means
TASKS = 200  # 5-way tasks of each kind whose queries are scored; fewer of more ways, so that all kinds count the same
SHOTS = (1, 2, 3, 5, 10)
WAYS, PHOTO_WAYS = (5, 20), (2, 5, 20)  # of the tasks that are measured: own photos score lower where ways are few
PHOTO_SOFTNESS = 4  # times the temperature of the probabilities: tasks of photos differ in how certain they are
LOW = 0.05  # share of a task's own pictures whose highest score is fitted by a statistic of its support
LEVELS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


@dataclass(frozen=True)
class TaskScores:
    """Scores of a task's own queries, the statistics of its support, and its number of classes."""

    of_queries: NDArray[np.float32]  # [Q]
    cohesion: float | None  # None with single examples, and with photos, of which it tells nothing
    own_score: float | None  # the score of its own examples; None with single drawings, of which it tells nothing
    way: int

    def less(self, statistic: float | None, row: Sequence[float]) -> Self:
        """Take off the shift by one statistic, by a row of `Background.by_cohesion` or `Background.by_own_score`."""
        shift = 0.0 if statistic is None else shift_at(row, statistic)
        return replace(self, of_queries=self.of_queries - np.float32(shift))


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
    shots: Iterable[int] = SHOTS,
) -> Background:
    """Make the background of a LEO in evaluation mode, measured at some numbers of shots.

    Its classes come from data sets that the LEO was trained on, its distribution of scores from others, each of which
    counts the same. Raises `DataError` if no data set of a kind is large enough for tasks.
    """
    heads = background_heads(leo, training, seed)
    temperature = leo.config.temperature * (1 if leo.config.pretrained is None else PHOTO_SOFTNESS)
    background = Background(heads, temperature, *(np.empty(0, dtype=np.float32) for _ in range(3)))
    of_photos = leo.config.pretrained is not None
    measured, quantiles = list[int](), list[NDArray[np.float64]]()
    by_cohesion, by_own_score = list[list[float]](), list[list[float]]()
    for shot in shots:
        scores = own_scores(leo, background, validation, shot, tasks, seed)
        if scores:
            measured.append(shot)
            scores = _shift_by_cohesion(scores, by_cohesion)
            by_own_score.append(fit_shift(scores, [each.own_score for each in scores]))
            scores = [each.less(each.own_score, by_own_score[-1]) for each in scores]
            quantiles.append(_lowest_quantiles(scores, apart=of_photos))
    if not measured:
        raise DataError("the data is too small to measure how pictures of a task's own classes score: add pictures")
    for rows in (by_cohesion, by_own_score):
        for fewer, more in reversed(list(itertools.pairwise(rows))):
            if not any(fewer):  # of single examples; between them and several the slope alone changes
                fewer[1:] = more[1:]
    of_support = {"by_own_score": by_own_score} | ({} if of_photos else {"by_cohesion": by_cohesion})
    arrays = (np.array(values, dtype=np.float32) for values in (measured, LEVELS, quantiles))
    by_support = {name: np.array(rows, dtype=np.float32) for name, rows in of_support.items()}
    return Background(heads, temperature, *arrays, **by_support)


def _shift_by_cohesion(scores: list[TaskScores], by_cohesion: list[list[float]]) -> list[TaskScores]:
    """Fit one more row of `Background.by_cohesion`, and take the shifts by it off the scores.

    It is fitted before the own score, so tasks that have no own score shift by it as they would if none had.
    """
    usual, largest = 1, 3
    row = fit_shift(scores, [each.cohesion for each in scores])
    # Drawings that look more alike than usual would lose many of their own if their threshold rose.
    row[largest] = row[usual]
    by_cohesion.append(row)
    return [each.less(each.cohesion, row) for each in scores]


def _lowest_quantiles(scores: Sequence[TaskScores], *, apart: bool) -> NDArray[np.float64]:
    """The quantiles of all tasks' shifted scores; `apart`: the lowest ones of tasks of 2, of 5 and of 20 classes.

    Own photos score lower in tasks of few classes, by more than the shift takes off where classes have one example.
    """
    kinds = sorted({each.way for each in scores}) if apart else [None]
    own = ([each.of_queries for each in scores if way in (None, each.way)] for way in kinds)
    lowest: NDArray[np.float64] = np.min([np.quantile(np.concatenate(each), LEVELS) for each in own], axis=0)
    return lowest


def fit_shift(scores: Sequence[TaskScores], statistics: Sequence[float | None]) -> list[float]:
    """Fit how fast the scores below which 5 % of a task's own pictures lie rise with a statistic of its support.

    Tasks of few classes and of many count the same, although there are more of the former. Returns a row of
    `Background.by_cohesion` or `Background.by_own_score`, zeros if no task has the statistic.
    """
    measured = [
        (statistic, np.quantile(each.of_queries, LOW), each.way)
        for each, statistic in zip(scores, statistics, strict=True)
        if statistic is not None
    ]
    if not measured:
        return [0.0, 0.0, 0.0, 0.0]
    statistic, lowest, weight = np.array(measured).T
    usual = float(np.average(statistic, weights=weight))
    deviation = weight * (statistic - usual)
    slope = float((deviation * (lowest - np.average(lowest, weights=weight))).sum())
    slope /= max(float((deviation * (statistic - usual)).sum()), 1e-9)
    return [max(0.0, slope), usual, float(statistic.min()), float(statistic.max())]


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
) -> list[TaskScores]:
    """Score pictures of tasks' own classes: of few ways and many, with classes from anywhere or of one group.

    Empty if no data set is large enough for tasks of so many shots.
    """
    method, scores, of_photos = LeoMethod(leo), list[TaskScores](), leo.config.pretrained is not None
    for extracted in validation:
        for setting in settings_of_shot(extracted, shot, PHOTO_WAYS if of_photos else WAYS):
            sampled = sample_tasks(extracted, setting, max(1, tasks * 5 // setting.way), seed)
            for part in classify_tasks(method, extracted, sampled):
                of_queries = score_queries(background, method, part).numpy()
                support, state = method.support_features(part.support), part.state
                nothing = [None] * len(of_queries)
                alike = nothing if of_photos else cohesions(support, state.membership)
                own: Sequence[float | None] = nothing
                if of_photos or shot > 1:
                    own = scores_of_examples(background, support, state.heads, state.membership)
                scores += [TaskScores(*each, setting.way) for each in zip(of_queries, alike, own, strict=True)]
    return scores


def cohesions(support: Tensor, membership: Tensor) -> list[float | None]:
    """The cohesion of each task's support: the features [T,S,F] that the service keeps, and membership [T,S,N]."""
    return [report_on_support(*each).cohesion for each in _supports(support, membership)]


def scores_of_examples(background: Background, support: Tensor, heads: Tensor, membership: Tensor) -> list[float]:
    """`Background.own_score` of each task: features [T,S,F] of its support, heads [T,N,F+1] and membership [T,S,N]."""
    parts = zip(_supports(support, membership), heads.cpu().numpy(), strict=True)
    return [background.own_score(*each, head[:, :-1], head[:, -1]) for each, head in parts]


def shifts(
    background: Background, support: Tensor, heads: Tensor, membership: Tensor, shots: Sequence[float]
) -> list[float]:
    """`Background.shift` of each task; `shots` [T] is the mean number of examples of a class, else as above."""
    alike, own = cohesions(support, membership), scores_of_examples(background, support, heads, membership)
    return [background.shift(*each) for each in zip(shots, alike, own, strict=True)]


def _supports(support: Tensor, membership: Tensor) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Each task's features and labels without padding, from features [T,S,F] and membership [T,S,N]."""
    features, labels = support.cpu().numpy(), membership.argmax(dim=-1).cpu().numpy()
    present = (membership.sum(dim=-1) > 0).cpu().numpy()  # [T, S], False for padding
    for own, numbers, real in zip(features, labels, present, strict=True):
        yield own[real], numbers[real]


def settings_of_shot(extracted: ExtractedFeatures, shot: int, ways: Iterable[int]) -> list[Setting]:
    """Return the kinds of tasks of so many shots that a data set is large enough for, perhaps none."""
    query = min(10, int(extracted.counts.max()) - shot)
    if query < 1:
        return []
    wanted = [Setting(way, (shot, shot), query, within) for within in (None, "alphabet") for way in ways]
    try:
        return [each for each in feasible_settings(extracted, wanted) if each.shots == (shot, shot)]
    except DataError:
        return []


def score_queries(background: Background, method: LeoMethod, part: ClassifiedTasks) -> Tensor:
    """Score all queries of some tasks against the background, [T,Q]."""
    return score(background, method.classifier_features(part.queries), part.logits)


def known(
    background: Background, features: Tensor, logits: Tensor, shots: Sequence[float], shifts: Sequence[float]
) -> Tensor:
    """Compute what the service answers as `known` for features [T,Q,F] and logits [T,Q,N]: [T,Q] on the host.

    `shots` [T] is the mean number of examples of a class in each task, and `shifts` [T] what the function of that name
    gives.
    """
    parts = zip(score(background, features, logits).numpy(), shots, shifts, strict=True)
    return torch.from_numpy(np.stack([background.known(own - shift, k) for own, k, shift in parts]))


def score(background: Background, features: Tensor, logits: Tensor) -> Tensor:
    """Score features [T,Q,F] with the logits [T,Q,N] of their tasks against the background, [T,Q] on the host."""
    best = logits.amax(dim=-1)  # [T, Q]
    scores = background.score(features.flatten(0, 1).cpu().numpy(), best.flatten().cpu().numpy())
    return torch.from_numpy(scores).view(best.shape)
