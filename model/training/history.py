"""What a training run tells of itself, step by step, and the schedule that all runs share."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Stage = Literal["pretrain", "episodes"]


@dataclass
class Progress:
    """One line of a run's history, as the progress bar and the curve show it."""

    stage: Stage
    step: int
    steps: int
    loss: float
    images_per_second: float
    validation: float | None = None
    watch: dict[str, float] = field(default_factory=dict)


def one_cycle(done: float) -> float:
    """Share of the peak learning rate when `done` (0..1) of the steps are: warm-up, then half a cosine."""
    warm = 0.1
    if done < warm:
        return 0.05 + 0.95 * done / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm))) + 1e-3


def append(path: Path, progress: Progress, seconds: float) -> None:
    """Add a line to a run's `log.csv`, and its header where there is no file yet."""
    watch = json.dumps({key: round(value, 5) for key, value in progress.watch.items()})
    line = {
        "stage": progress.stage,
        "step": progress.step,
        "seconds": round(seconds, 1),
        "loss": round(progress.loss, 5),
        "validation": progress.validation,
        "images_per_second": round(progress.images_per_second, 1),
        "watch": watch,
    }
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, line)
        if fresh:
            writer.writeheader()
        writer.writerow(line)
