"""Everything `leo evaluate` says of a LEO, over many settings and numbers of inner steps."""

from collections.abc import Iterable
from typing import Any

from model.baselines.latent import Leo
from model.data.omniglot import DataError
from model.evaluation.accuracy import (
    Pictures,
    Row,
    Setting,
    Within,
    accuracies,
    extract_features,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.diagnostics import Diagnostics, examine
from model.evaluation.strangers import SCORE
from model.leo import LatentEmbeddingOptimization

QUERIES = 15  # a class, where the data has so many beside the shots
CURVE_STEPS = (1, 2, 3, 5, 7, 10)
MOST_CURVE_WAYS = 20


class Evaluation:
    """Settings added one after another. All numbers of steps see the same tasks."""

    def __init__(self, leo: LatentEmbeddingOptimization, data: Pictures, episodes: int, seed: int = 0) -> None:
        self.leo, self.data, self.episodes, self.seed = leo, data, episodes, seed
        self.extracted = extract_features(leo, data)
        self.examined: list[list[Diagnostics]] = []  # by setting, then by number of steps

    def settings(
        self, ways: Iterable[int], shots: Iterable[tuple[int, int]], query: int | None, within: Within | None
    ) -> list[Setting]:
        """Ways x shots. Without `query` 15 queries a class, or all that the shots leave where those are fewer."""
        shots, most = list(shots), int(self.data.counts.max())
        found = []
        for way in ways:
            for pair in shots:
                if query is None and pair[1] >= most:
                    raise DataError(f"{pair[1]} shots leave no query: the data has {most} pictures a class")
                found.append(Setting(way, pair, min(QUERIES, most - pair[1]) if query is None else query, within))
        return found

    def add(self, setting: Setting, steps: Iterable[int]) -> None:
        """Examine a setting with each number of inner steps. Raises `DataError`."""
        methods = [Leo(self.leo, number) for number in steps]
        self.examined.append([examine(method, self.extracted, setting, self.episodes, self.seed) for method in methods])

    @property
    def rows(self) -> list[Row]:
        return [one.row for same in self.examined for one in same]

    @property
    def last_steps(self) -> list[Diagnostics]:
        """Each setting with the last number of steps asked for."""
        return [same[-1] for same in self.examined]

    def as_dict(self) -> dict[str, Any]:
        """What the rows have no room for."""
        differences, calibration, unknown = [], [], []
        for same in self.examined:
            for one in same:
                where = {key: getattr(one.row, key) for key in ("way", "shot", "within", "inner_steps")}
                calibration.append(where | one.reliability.as_dict())
                scores = {name: {"auroc": auroc, "ci95": ci95} for name, (auroc, ci95) in one.unknown.items()}
                unknown.append(where | {"scores": scores})
                if one is not same[0]:
                    mean, ci95 = mean_and_ci95(one.accuracies - same[0].accuracies)
                    against = {"against": same[0].inner_steps, "difference": mean, "ci95": ci95}
                    differences.append(where | against)
        return {
            "temperature": self.leo.config.temperature,
            "unknown_score": SCORE,
            "differences": differences,
            "calibration": calibration,
            "unknown": unknown,
        }

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        """By setting (steps, gain in accuracy over no step, half its interval), on the same tasks.

        For the most ways up to 20, where steps have something to do and still are quick.
        """
        settings = [same[0].setting for same in self.examined]
        way = max((s.way for s in settings if s.way <= MOST_CURVE_WAYS), default=min(s.way for s in settings))
        found = {}
        for same in self.examined:
            setting = same[0].setting
            if setting.way != way:
                continue
            tasks = sample_tasks(self.extracted, setting, self.episodes, self.seed)
            start = accuracies(Leo(self.leo, 0), self.extracted, tasks)
            points = [(0, 0.0, 0.0)]
            for steps in CURVE_STEPS:
                gain, ci95 = mean_and_ci95(accuracies(Leo(self.leo, steps), self.extracted, tasks) - start)
                points.append((steps, gain, ci95))
            found[f"{way}-way {same[0].row.shot}-shot"] = points
        return found
