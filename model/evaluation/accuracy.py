"""Accuracy of a few-shot method on random tasks of classes that it was not trained on, with 95 % intervals."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from model.baselines.leo import LeoMethod
from model.baselines.method import Method
from model.data.episodes import Episodes, concatenate, fit_to_data, sample_episodes
from model.data.sources import DataError
from model.evaluation.extracted_features import ExtractedFeatures
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization

Within = Literal["alphabet"]

EPISODES_AT_ONCE = 100  # tasks sampled together. A change would give other tasks for the same seed
NUMBERS_AT_ONCE = 2**24  # most feature values in the tasks that are adapted together


class Setting(NamedTuple):
    """The kind of task that is sampled, as "5-way 1-shot within one alphabet".

    The number of shots is sampled for each class, uniformly between the two numbers of `shots`, both included.
    """

    way: int
    shots: tuple[int, int]
    query: int  # queries of each class
    within: Within | None = None


@dataclass(frozen=True)
class AccuracyRow:
    """One row of a table of accuracies: the mean over the tasks of one setting."""

    way: int
    shot: int | str  # a number, or "1-5" if it was sampled for each class
    query: int  # queries of each class
    episodes: int
    inner_steps: int
    accuracy: float  # 0..1
    ci95: float  # half the 95 % interval of the accuracy
    within: str | None = None
    ece: float | None = None  # expected calibration error of the probabilities; None if not measured
    auroc: float | None = None  # how well unknown classes are detected; None if not measured
    foreign_accepted: float | None = None  # share of foreign queries that pass if 5 % of the own fail
    rejected: tuple[float, float] | None = None  # shares of own and of foreign queries whose `known` is below 5 %

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ClassifiedTasks(NamedTuple):
    """T tasks of one setting, and what a method returned for them."""

    tasks: Episodes
    support: Tensor  # [T, S, ...], as extracted
    queries: Tensor  # [T, Q, ...], as extracted
    state: Any  # what the method's `adapt` returned
    logits: Tensor  # [T, Q, N]
    labels: Tensor  # [T, Q], the queries' true classes


def sample_tasks(extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int = 0) -> Episodes:
    """Sample tasks of a setting. The same seed gives the same tasks for every method.

    Raises `model.data.sources.DataError` if the data is too small for such tasks.
    """
    way, (fewest, most), query, within = setting
    # Way, shot and query are part of the seed, so that the tasks of different settings are independent.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + way * 10_007 + most * 101 + query)
    groups = extracted.groups if within else None
    shot = most if fewest == most else (fewest, most)
    sizes = [min(EPISODES_AT_ONCE, episodes - done) for done in range(0, episodes, EPISODES_AT_ONCE)]
    return concatenate([sample_episodes(extracted.counts, size, way, shot, query, generator, groups) for size in sizes])


def feasible_settings(extracted: ExtractedFeatures, settings: Iterable[Setting]) -> list[Setting]:
    """Return the settings that the data is large enough for; if there is none, one with fewer ways, shots and queries.

    Raises `DataError` if the data is too small for any task, or no setting is given.
    """
    settings, feasible = list(settings), []
    for setting in settings:
        with contextlib.suppress(DataError):
            sample_tasks(extracted, setting, 1)
            feasible.append(setting)
    if feasible:
        return feasible
    if not settings:
        raise DataError("no setting was asked for: name at least one")
    smallest = min(settings, key=lambda setting: (setting.way, setting.shots, setting.query))
    way, shot, query = fit_to_data(extracted.counts, smallest.way, smallest.shots[0], smallest.query)
    return [Setting(way, (shot, shot), query)]


def five_way_settings(extracted: ExtractedFeatures, shots: Iterable[int], query: int = 10) -> list[Setting]:
    """Return 5-way settings with so many queries of each class, or fewer ways and queries if the data has no more.

    Raises `DataError` if the data is too small for all of them.
    """
    way = min(5, len(extracted.counts))
    most = int(extracted.counts.sort(descending=True).values[way - 1])
    return feasible_settings(extracted, [Setting(way, (k, k), min(query, most - k)) for k in shots if k < most])


@torch.no_grad()
def classify_tasks(method: Method, extracted: ExtractedFeatures, tasks: Episodes) -> Iterator[ClassifiedTasks]:
    """Adapt a method to each task and classify the task's queries, some tasks at a time to bound memory."""
    way, images = tasks.drawings.shape[1:]
    numbers = way * images * max(extracted.features[0, 0].numel(), way)
    at_once = max(1, NUMBERS_AT_ONCE // numbers)
    for start in range(0, len(tasks), at_once):
        some = tasks[start : start + at_once]
        support, labels, queries, query_labels = some.gather(extracted.features)
        membership = one_hot(labels, way)
        state = method.adapt(support, membership)
        yield ClassifiedTasks(some, support, queries, state, method.logits(state, queries), query_labels)


def accuracy_per_task(method: Method, extracted: ExtractedFeatures, tasks: Episodes) -> Tensor:
    """Return each task's share of queries that the method classifies correctly, [E]."""
    correct = [
        (part.logits.argmax(dim=-1) == part.labels).double() for part in classify_tasks(method, extracted, tasks)
    ]
    return torch.cat([part.mean(dim=1).cpu() for part in correct])


def measure_accuracy(
    leo: LatentEmbeddingOptimization,
    extracted: ExtractedFeatures,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    seed: int = 0,
    inner_steps: int | None = None,
) -> AccuracyRow:
    """Measure a LEO's accuracy over `episodes` random tasks. The same seed gives the same tasks for any model.

    Raises `model.data.sources.DataError` if the data is too small for such tasks.
    """
    method = LeoMethod(leo, inner_steps)
    tasks = sample_tasks(extracted, Setting(way, (shot, shot), query), episodes, seed)
    mean, ci95 = mean_and_ci95(accuracy_per_task(method, extracted, tasks))
    return AccuracyRow(way, shot, query, episodes, method.steps, mean, ci95)


def mean_and_ci95(values: Tensor) -> tuple[float, float]:
    """Return the mean of n values and half its 95 % interval, 1.96 s / sqrt(n); the latter is NaN for one value."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(len(values)))


def format_shots(shots: tuple[int, int]) -> int | str:
    """Return a setting's shots as results show them: 5, or "1-5"."""
    return shots[0] if shots[0] == shots[1] else f"{shots[0]}-{shots[1]}"
