"""More than accuracy: calibration, confusions and strangers, for a LEO over the tasks of one setting."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.latent import Leo
from model.data.episodes import Episodes, sample_strangers
from model.evaluation.accuracy import (
    ExtractedFeatures,
    Row,
    Setting,
    answer_tasks,
    format_shots,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.calibration import Reliability, reliability
from model.evaluation.strangers import SCORE, auroc_and_ci95, scores

STRANGERS = 5  # classes beside a task's own, where so many are left


@dataclass(frozen=True)
class Diagnostics:
    """What E tasks with Q queries each showed."""

    setting: Setting
    inner_steps: int
    accuracies: Tensor  # [E]
    reliability: Reliability
    confusion: Tensor  # [C, C], queries of the data set's class a that were taken for b
    met: Tensor  # [C, C], queries of a in tasks that held b
    unknown: dict[str, tuple[float, float]]  # AUROC and half its interval by score; empty without strangers

    @property
    def row(self) -> Row:
        """The figures a table has room for."""
        way, shots, query, within = self.setting
        mean, ci95 = mean_and_ci95(self.accuracies)
        auroc = self.unknown[SCORE][0] if self.unknown else None
        episodes = len(self.accuracies)
        ece = self.reliability.ece
        return Row(way, format_shots(shots), query, episodes, self.inner_steps, mean, ci95, within, ece, auroc)


@torch.no_grad()
def examine(method: Leo, extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int = 0) -> Diagnostics:
    """Accuracy as `evaluate` finds it, on the same tasks, and the rest beside it."""
    tasks = sample_tasks(extracted, setting, episodes, seed)
    groups = extracted.groups if setting.within else None
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_009)
    strangers = sample_strangers(extracted.counts, tasks, STRANGERS, setting.query, generator, groups)
    config = method.leo.config
    classes = len(extracted.counts)
    confusion, met = torch.zeros(classes * classes, dtype=torch.long), torch.zeros(classes, classes, dtype=torch.long)
    correct, confidences = [], []
    known: dict[str, list[Tensor]] = {}
    unknown: dict[str, list[Tensor]] = {}
    done = 0
    for part in answer_tasks(method, extracted, tasks):
        others, done = strangers[done : done + len(part.tasks)], done + len(part.tasks)
        predicted = part.logits.argmax(dim=-1)  # [T, Q]
        t = torch.tensor([config.temperature_at(shots, setting.way) for shots in part.tasks.mean_shots]).view(-1, 1, 1)
        t = t.to(part.logits)  # [T, 1, 1]
        correct.append((predicted == part.labels).cpu())
        confidences.append((part.logits / t).softmax(dim=-1).amax(dim=-1).cpu())
        _count(confusion, met, part.tasks, part.labels.cpu(), predicted.cpu())
        support, queries = method.for_classifier(part.support), method.for_classifier(part.queries)
        _add(known, scores(part.state, support, part.logits, queries, t))
        if others.classes.shape[1]:
            seen, *_ = others.gather(extracted.features)  # [T, U, ...]
            logits = method.logits(part.state, seen)
            _add(unknown, scores(part.state, support, logits, method.for_classifier(seen), t))
    right = torch.cat(correct)  # [E, Q]
    return Diagnostics(
        setting,
        method.steps,
        right.double().mean(dim=1),
        reliability(torch.cat(confidences).flatten(), right.flatten()),
        confusion.view(classes, classes),
        met,
        {name: auroc_and_ci95(torch.cat(known[name]), torch.cat(unknown[name])) for name in unknown},
    )


def _count(confusion: Tensor, met: Tensor, tasks: Episodes, labels: Tensor, predicted: Tensor) -> None:
    """Add what queries [T,Q] were and were taken for to counts over the data set's classes."""
    classes = met.shape[0]
    truth, taken = tasks.classes.gather(1, labels), tasks.classes.gather(1, predicted)  # [T, Q]
    confusion += torch.bincount((truth * classes + taken).flatten(), minlength=classes * classes)
    queries = labels.shape[1] // tasks.classes.shape[1]  # of each class
    pairs = tasks.classes.unsqueeze(2) * classes + tasks.classes.unsqueeze(1)  # [T, N, N]
    met += queries * torch.bincount(pairs.flatten(), minlength=classes * classes).view(classes, classes)


def _add(collected: dict[str, list[Tensor]], found: dict[str, Tensor]) -> None:
    for name, values in found.items():
        collected.setdefault(name, []).append(values.cpu())
