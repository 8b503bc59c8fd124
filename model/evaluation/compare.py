"""Methods side by side on the same tasks: accuracy, paired difference, what an adaptation costs."""

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
from model.evaluation.accuracy import (
    ExtractedFeatures,
    Pictures,
    Setting,
    accuracies,
    extract,
    format_shots,
    mean_and_ci95,
    sample_tasks,
)
from model.functional import one_hot
from model.images.resize import to_side


@dataclass(frozen=True)
class Cost:
    """Of adapting to one task, alone."""

    milliseconds: float | None  # median over repeats; None if no times were taken
    peak_bytes: int  # the most that torch held at once above what it held before


@dataclass(frozen=True)
class Compared:
    """One method in one setting; `difference` is its accuracy less LEO's, mean over tasks, 95 % interval.

    `adapt` starts from what the method's extractor saw, `from_pictures` before it looked. MAML and Meta-SGD look with a
    phi that they adapt, so for them the two are the same.
    """

    method: str
    way: int
    shot: int | str
    query: int
    within: str | None
    episodes: int
    accuracy: float
    ci95: float
    difference: float
    difference_ci95: float
    adapt: Cost | None  # None where it was not asked for
    from_pictures: Cost | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def figures(self) -> dict[str, Any]:
        """What a card says of it."""
        return {name: getattr(self, name) for name in ("method", "accuracy", "ci95", "difference", "difference_ci95")}


class Comparison:
    """Methods over one data set; the first is what the others are compared with."""

    def __init__(self, methods: list[Method], data: Pictures, resolution: int, device: torch.device) -> None:
        self.methods, self.data, self.resolution, self.device = methods, data, resolution, device
        sources: dict[Callable[[Tensor], Tensor], ExtractedFeatures] = {}
        for method in methods:
            if method.extractor not in sources:
                sources[method.extractor] = extract(method.extractor, data, resolution, device)
        self.sources = [sources[method.extractor] for method in methods]

    def run(self, setting: Setting, episodes: int, seed: int = 0, repeats: int | None = 0) -> list[Compared]:
        """A line for each method, over the same tasks. `repeats` of 0 takes no times, None weighs no memory either."""
        tasks = sample_tasks(self.sources[0], setting, episodes, seed)
        found = []
        reference: Tensor | None = None
        for method, extracted in zip(self.methods, self.sources, strict=True):
            mine = accuracies(method, extracted, tasks)  # [E]
            reference = mine if reference is None else reference
            mean, ci95 = mean_and_ci95(mine)
            difference, difference_ci95 = mean_and_ci95(mine - reference)
            adapt = from_pictures = None
            if repeats is not None:
                adapt, from_pictures = self.costs(method, tasks[:1], repeats)
            found.append(
                Compared(
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
        return found

    @torch.no_grad()
    def costs(self, method: Method, task: Episodes, repeats: int) -> tuple[Cost, Cost]:
        """Of adapting to one task from what the extractor saw, and from its support pictures on.

        LEO adapts in the service's closed form (`model.serving.adapt`), MAML, Meta-SGD and ANIL with autograd.
        """
        places = torch.arange(int(self.data.counts.max())).expand(len(self.data), -1)  # [C, D]
        (chosen,), (labels,), *_ = task.gather(places)  # [S], [S]
        pictures = inputs(self.data, task.classes[0, labels], chosen, self.resolution).to(self.device)  # [S, ., R, R]
        membership = one_hot(labels[None], task.classes.shape[1]).to(self.device)  # [1, S, N]
        seen = method.extractor(pictures).unsqueeze(0)
        return (
            cost(lambda: method.adapt(seen, membership), self.device, repeats),
            cost(lambda: method.adapt(method.extractor(pictures).unsqueeze(0), membership), self.device, repeats),
        )


def inputs(data: Pictures, classes: Tensor, places: Tensor, resolution: int) -> Tensor:
    """Single pictures of a data set as phi takes them: class and place of each, [B] -> [B,1 or 3,R,R]."""
    if isinstance(data, Photos):
        one = torch.stack([data.pixels(c, place, resolution) for c, place in zip(classes, places, strict=True)])
        return one.permute(0, 3, 1, 2).float() / 255
    return to_side(data.images[classes, places], resolution).unsqueeze(1).float() / 255


def cost(work: Callable[[], object], device: torch.device, repeats: int) -> Cost:
    """Run once to warm up, once to watch memory, and `repeats` times to take the time."""
    work()
    peak = peak_bytes(work, device)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return Cost(1000 * statistics.median(times) if times else None, peak)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most that torch's allocator held at once while `work` ran, above what it held before.

    On a GPU from the allocator's own count; on a CPU from the profiler's record of every allocation, so
    that it is the same on every run and whatever else the machine does. Temporaries inside
    libraries that bypass torch's allocator are not in it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(use_device=None, profile_memory=True) as profiled:
        work()
    changes = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
