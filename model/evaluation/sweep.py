"""Diagnostics over many settings and numbers of inner steps: everything that `leo evaluate` measures."""

from collections.abc import Iterable
from typing import Any

from model.baselines.leo import LeoMethod
from model.data.sources import DataError
from model.evaluation.accuracy import (
    AccuracyRow,
    Setting,
    Within,
    accuracy_per_task,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.diagnostics import Diagnostics, diagnose
from model.evaluation.extracted_features import Pictures, extract_leo_features
from model.evaluation.unknown_detection import REPORTED_SCORES
from model.leo import LatentEmbeddingOptimization

QUERIES = 15  # of each class, if the data has so many images beside the support
CURVE_STEPS = (1, 2, 3, 5, 7, 10)
MAX_CURVE_WAYS = 20  # more ways would take long

Curves = dict[str, list[tuple[int, float, float]]]  # by setting: inner steps, gain over no step, half its interval


class Sweep:
    """Measurements of one LEO on one data set. Settings are run one by one; `rows` and `as_dict` give the results.

    For each setting, all numbers of inner steps are measured on the same tasks.
    """

    def __init__(self, leo: LatentEmbeddingOptimization, data: Pictures, episodes: int, seed: int = 0) -> None:
        self.leo, self.data, self.episodes, self.seed = leo, data, episodes, seed
        self.extracted = extract_leo_features(leo, data)
        self.diagnostics: list[list[Diagnostics]] = []  # by setting, then by number of inner steps

    def make_settings(
        self, ways: Iterable[int], shots: Iterable[tuple[int, int]], query: int | None, within: Within | None
    ) -> list[Setting]:
        """Combine all ways with all shots. If `query` is None, each class has 15 queries, or as many as are left.

        Raises `DataError` if the shots leave no image for a query.
        """
        shots, most = list(shots), int(self.data.counts.max())
        settings = []
        for way in ways:
            for pair in shots:
                if query is None and pair[1] >= most:
                    raise DataError(
                        f"{pair[1]} shots leave no query: the data has {most} images a class; ask for fewer shots"
                    )
                settings.append(Setting(way, pair, min(QUERIES, most - pair[1]) if query is None else query, within))
        return settings

    def run(self, setting: Setting, steps: Iterable[int]) -> None:
        """Measure a setting with each number of inner steps. Raises `DataError` if the data is too small for it."""
        methods = [LeoMethod(self.leo, number) for number in steps]
        self.diagnostics.append(
            [diagnose(method, self.extracted, setting, self.episodes, self.seed) for method in methods]
        )

    @property
    def rows(self) -> list[AccuracyRow]:
        """One row for each setting and number of steps."""
        return [one.row for same_tasks in self.diagnostics for one in same_tasks]

    @property
    def last_steps(self) -> list[Diagnostics]:
        """The diagnostics of each setting with the number of steps that was given last."""
        return [same_tasks[-1] for same_tasks in self.diagnostics]

    def as_dict(self) -> dict[str, Any]:
        """Return what the rows do not hold: paired differences between numbers of steps, reliability and AUROCs."""
        differences, calibration, unknown = [], [], []
        for same_tasks in self.diagnostics:
            first = same_tasks[0]
            for one in same_tasks:
                where = {key: getattr(one.row, key) for key in ("way", "shot", "within", "inner_steps")}
                calibration.append(where | one.reliability.as_dict())
                scores = {
                    name: {"auroc": auroc, "ci95": ci95, "foreign_accepted": one.foreign_accepted[name]}
                    for name, (auroc, ci95) in one.aurocs.items()
                }
                unknown.append(where | {"scores": scores})
                if one is not first:
                    mean, ci95 = mean_and_ci95(one.accuracies - first.accuracies)
                    differences.append(where | {"against": first.inner_steps, "difference": mean, "ci95": ci95})
        is_calibrated = self.leo.background is not None
        return {
            "temperature": self.leo.config.temperature,
            "unknown_score": REPORTED_SCORES[0 if is_calibrated else 1],
            "differences": differences,
            "calibration": calibration,
            "unknown": unknown,
        }

    def curves(self) -> Curves:
        """Measure how accuracy grows with the number of inner steps, on the tasks of the settings already run.

        Only settings with the most ways, up to 20, are measured: there the steps matter and are still quick.
        """
        settings = [same_tasks[0].setting for same_tasks in self.diagnostics]
        way = max((s.way for s in settings if s.way <= MAX_CURVE_WAYS), default=min(s.way for s in settings))
        curves: Curves = {}
        for same_tasks in self.diagnostics:
            setting = same_tasks[0].setting
            if setting.way != way:
                continue
            tasks = sample_tasks(self.extracted, setting, self.episodes, self.seed)
            start = accuracy_per_task(LeoMethod(self.leo, 0), self.extracted, tasks)
            points = [(0, 0.0, 0.0)]
            for steps in CURVE_STEPS:
                accuracies = accuracy_per_task(LeoMethod(self.leo, steps), self.extracted, tasks)
                points.append((steps, *mean_and_ci95(accuracies - start)))
            curves[f"{way}-way {same_tasks[0].row.shot}-shot"] = points
        return curves
