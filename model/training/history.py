"""The history of a training run: what each step reports, and the file `log.csv` that keeps it."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from model.checkpoint import write_whole

Stage = Literal["pretrain", "episodes", "views"]


@dataclass
class Progress:
    """What a training run reports after a step."""

    stage: Stage
    step: int  # steps of the stage that are done
    steps: int  # steps of the whole stage
    loss: float  # NaN if the step was skipped because something was not finite
    images_per_second: float
    validation: float | None = None  # accuracy 0..1; None if this step was not validated
    watch: dict[str, float] = field(default_factory=dict)  # other figures, by name


def append_to_log(path: Path, progress: Progress, seconds: float) -> None:
    """Append a line to a run's `log.csv`, after `seconds` of training. A new file starts with a header."""
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
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, line)
        if is_new:
            writer.writeheader()
        writer.writerow(line)


def cut_log(path: Path, stage: Stage, step: int) -> None:
    """Cut off what a killed run wrote to its `log.csv` after its last checkpoint: the resumed run writes that again."""
    if not path.exists():
        return
    stages = get_args(Stage)
    header, *lines = path.read_bytes().decode().splitlines(keepends=True) or [""]
    kept = []
    for line in lines:
        if not line.endswith("\n"):
            break
        line_stage, line_step, *_ = line.split(",")
        if (stages.index(line_stage), int(line_step)) > (stages.index(stage), step):
            break
        kept.append(line)
    if kept:
        write_whole(path, "".join([header, *kept]).encode())
    else:
        path.unlink()
