"""What a LEO does on the tasks of one setting beside being right: calibration, confusions, unknown classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.leo import LeoMethod
from model.data.episodes import Episodes, sample_unknown_classes
from model.evaluation.accuracy import (
    AccuracyRow,
    Setting,
    classify_tasks,
    format_shots,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.extracted_features import ExtractedFeatures
from model.evaluation.reliability import Reliability, reliability
from model.evaluation.unknown_detection import (
    FALSE_REJECTION,
    REPORTED_SCORES,
    auroc_and_ci95,
    detection_scores,
    foreign_accepted,
)

UNKNOWN_CLASSES = 5  # for each task, if the data set has so many left


@dataclass(frozen=True)
class Diagnostics:
    """Measurements over E tasks of one setting, sampled from a data set of C classes."""

    setting: Setting
    inner_steps: int
    accuracies: Tensor  # [E]
    reliability: Reliability
    confusion: Tensor  # [C, C], queries of the data set's class a that were classified as b
    co_occurrence: Tensor  # [C, C], queries of class a in tasks that had class b
    aurocs: dict[str, tuple[float, float]]  # AUROC and half its interval for each score; empty without unknown classes
    foreign_accepted: dict[str, float]  # share of foreign queries that pass where 5 % of the own fail, for each score
    rejected: tuple[float, float] | None  # shares of own and of foreign queries with `known` below 5 %, if it is there

    @property
    def row(self) -> AccuracyRow:
        """The figures that a table shows."""
        way, shots, query, within = self.setting
        mean, ci95 = mean_and_ci95(self.accuracies)
        score = next((name for name in REPORTED_SCORES if name in self.aurocs), None)
        auroc = None if score is None else self.aurocs[score][0]
        accepted = None if score is None else self.foreign_accepted[score]
        episodes = len(self.accuracies)
        ece = self.reliability.ece
        steps = self.inner_steps
        return AccuracyRow(
            way, format_shots(shots), query, episodes, steps, mean, ci95, within, ece, auroc, accepted, self.rejected
        )


@torch.no_grad()
def diagnose(
    method: LeoMethod, extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int = 0
) -> Diagnostics:
    """Measure a LEO on the tasks that `model.evaluation.accuracy.measure_accuracy` samples for the same seed.

    Raises `model.data.sources.DataError` if the data is too small for such tasks.
    """
    tasks = sample_tasks(extracted, setting, episodes, seed)
    groups = extracted.groups if setting.within else None
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_009)
    unknown_tasks = sample_unknown_classes(extracted.counts, tasks, UNKNOWN_CLASSES, setting.query, generator, groups)
    config = method.leo.config
    classes = len(extracted.counts)
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    co_occurrence = torch.zeros(classes, classes, dtype=torch.long)
    correct, confidences = [], []
    known: dict[str, list[Tensor]] = {}
    unknown: dict[str, list[Tensor]] = {}
    done = 0
    for part in classify_tasks(method, extracted, tasks):
        others, done = unknown_tasks[done : done + len(part.tasks)], done + len(part.tasks)
        predicted = part.logits.argmax(dim=-1)  # [T, Q]
        t = torch.tensor([config.temperature_at(shots, setting.way) for shots in part.tasks.mean_shots]).view(-1, 1, 1)
        t = t.to(part.logits)  # [T, 1, 1]
        correct.append((predicted == part.labels).cpu())
        confidences.append((part.logits / t).softmax(dim=-1).amax(dim=-1).cpu())
        confusion += count_confusions(part.tasks, part.labels.cpu(), predicted.cpu(), classes)
        co_occurrence += count_co_occurrences(part.tasks, setting.query, classes)
        support, queries = method.support_features(part.support), method.classifier_features(part.queries)
        background, shots = method.leo.background, part.tasks.mean_shots
        _append(known, detection_scores(part.state, support, part.logits, queries, t, background, shots))
        if others.classes.shape[1]:
            unknown_queries, *_ = others.gather(extracted.features)  # [T, U, ...]
            logits = method.logits(part.state, unknown_queries)
            features = method.classifier_features(unknown_queries)
            _append(unknown, detection_scores(part.state, support, logits, features, t, background, shots))
    is_correct = torch.cat(correct)  # [E, Q]
    scores = {name: (torch.cat(known[name]), torch.cat(unknown[name])) for name in unknown}
    return Diagnostics(
        setting,
        method.steps,
        is_correct.double().mean(dim=1),
        reliability(torch.cat(confidences).flatten(), is_correct.flatten()),
        confusion,
        co_occurrence,
        {name: auroc_and_ci95(*each) for name, each in scores.items()},
        {name: foreign_accepted(*each) for name, each in scores.items()},
        (_below(scores["known"][0]), _below(scores["known"][1])) if "known" in scores else None,
    )


def _below(known: Tensor) -> float:
    return float((known < FALSE_REJECTION).double().mean())


def count_confusions(tasks: Episodes, labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count queries by true and predicted class of the data set: labels and predictions [T,Q] -> [C,C]."""
    truth, predicted = tasks.classes.gather(1, labels), tasks.classes.gather(1, predicted)  # [T, Q]
    return torch.bincount((truth * classes + predicted).flatten(), minlength=classes * classes).view(classes, classes)


def count_co_occurrences(tasks: Episodes, query: int, classes: int) -> Tensor:
    """Count, for each pair of the data set's classes, the queries of the first in tasks that have the second: [C,C]."""
    pairs = tasks.classes.unsqueeze(2) * classes + tasks.classes.unsqueeze(1)  # [T, N, N]
    return query * torch.bincount(pairs.flatten(), minlength=classes * classes).view(classes, classes)


def _append(collected: dict[str, list[Tensor]], scores: dict[str, Tensor]) -> None:
    for name, values in scores.items():
        collected.setdefault(name, []).append(values.cpu())
