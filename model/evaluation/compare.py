"""Comparison of methods on the same tasks: accuracy, paired difference to the first, time and memory of adapting."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile

from model.baselines.method import Method
from model.data.episodes import Episodes
from model.data.photos import Photos
from model.evaluation.accuracy import Setting, accuracy_per_task, format_shots, mean_and_ci95, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, Pictures, extract
from model.functional import one_hot
from model.images.resize import to_side


@dataclass(frozen=True)
class AdaptationCost:
    """What it takes to adapt to one task, with nothing else running."""

    milliseconds: float | None  # median over the repeats; None if time was not measured
    peak_bytes: int  # most memory that torch held at once, above what it held before


@dataclass(frozen=True)
class ComparisonRow:
    """One method's results in one setting, and its mean difference to the first method on the same tasks.

    `adapt` is the cost of adapting from extracted features, `from_pictures` includes extracting them. MAML and Meta-SGD
    adapt phi itself and extract nothing before, so for them the two are the same.
    """

    method: str
    way: int
    shot: int | str
    query: int
    within: str | None
    episodes: int
    accuracy: float
    ci95: float
    difference: float  # accuracy minus the first method's
    difference_ci95: float
    adapt: AdaptationCost | None  # None if it was not measured
    from_pictures: AdaptationCost | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def figures(self) -> dict[str, Any]:
        """Return the figures that a model card shows."""
        return {name: getattr(self, name) for name in ("method", "accuracy", "ci95", "difference", "difference_ci95")}


class Comparison:
    """Methods and the features that each of them extracts from one data set. The first method is the reference."""

    def __init__(self, methods: list[Method], data: Pictures, resolution: int, device: torch.device) -> None:
        self.methods, self.data, self.resolution, self.device = methods, data, resolution, device
        by_extractor: dict[Callable[[Tensor], Tensor], ExtractedFeatures] = {}
        for method in methods:
            if method.extractor not in by_extractor:
                by_extractor[method.extractor] = extract(method.extractor, data, resolution, device)
        self.extracted = [by_extractor[method.extractor] for method in methods]

    def run(self, setting: Setting, episodes: int, seed: int = 0, repeats: int | None = 0) -> list[ComparisonRow]:
        """Measure each method on the same tasks of a setting.

        Adapting is timed `repeats` times; with 0 only its memory is measured, with None neither. Raises `DataError` if
        the data is too small for such tasks.
        """
        tasks = sample_tasks(self.extracted[0], setting, episodes, seed)
        rows = []
        reference: Tensor | None = None
        for method, extracted in zip(self.methods, self.extracted, strict=True):
            accuracies = accuracy_per_task(method, extracted, tasks)  # [E]
            reference = accuracies if reference is None else reference
            mean, ci95 = mean_and_ci95(accuracies)
            difference, difference_ci95 = mean_and_ci95(accuracies - reference)
            adapt = from_pictures = None
            if repeats is not None:
                adapt, from_pictures = self.measure_costs(method, tasks[:1], repeats)
            rows.append(
                ComparisonRow(
                    method.name,
                    setting.way,
                    format_shots(setting.shots),
                    setting.query,
                    setting.within,
                    episodes,
                    mean,
                    ci95,
                    difference,
                    difference_ci95,
                    adapt,
                    from_pictures,
                )
            )
        return rows

    @torch.no_grad()
    def measure_costs(self, method: Method, task: Episodes, repeats: int) -> tuple[AdaptationCost, AdaptationCost]:
        """Measure what adapting to one task takes, from extracted features and from its support images.

        LEO adapts in the service's closed form (`model.serving.adapt`); MAML, Meta-SGD and ANIL use autograd.
        """
        places = torch.arange(int(self.data.counts.max())).expand(len(self.data), -1)  # [C, D]
        (chosen,), (labels,), *_ = task.gather(places)  # [S], [S]
        pictures = load_inputs(self.data, task.classes[0, labels], chosen, self.resolution).to(
            self.device
        )  # [S, ., R, R]
        membership = one_hot(labels[None], task.classes.shape[1]).to(self.device)  # [1, S, N]
        extracted = method.extractor(pictures).unsqueeze(0)
        return (
            measure_cost(lambda: method.adapt(extracted, membership), self.device, repeats),
            measure_cost(
                lambda: method.adapt(method.extractor(pictures).unsqueeze(0), membership), self.device, repeats
            ),
        )


def load_inputs(data: Pictures, classes: Tensor, places: Tensor, resolution: int) -> Tensor:
    """Load images of a data set as inputs of phi, by class [B] and place within the class [B]: [B,1 or 3,R,R]."""
    if isinstance(data, Photos):
        images = torch.stack([data.pixels(c, place, resolution) for c, place in zip(classes, places, strict=True)])
        return images.permute(0, 3, 1, 2).float() / 255
    return to_side(data.images[classes, places], resolution).unsqueeze(1).float() / 255


def measure_cost(work: Callable[[], object], device: torch.device, repeats: int) -> AdaptationCost:
    """Run `work` once to warm up, once to measure memory, and `repeats` times to measure time."""
    work()
    peak = measure_peak_bytes(work, device)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return AdaptationCost(1000 * statistics.median(times) if times else None, peak)


def measure_peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the most memory that torch's allocator held at once while `work` ran, above what it held before.

    On a GPU the allocator counts it. On a CPU it is the sum of the allocations that the profiler records, which is the
    same on every run, whatever else the machine does. Memory that libraries take without torch's allocator is not
    included.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(use_device=None, profile_memory=True) as profiled:
        work()
    changes = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
