"""The learning curve of a training run: loss and validation accuracy over time, drawn from its `log.csv`."""

import csv
from pathlib import Path
from typing import get_args

from model.training.history import Stage


def draw_curve(log: Path, png: Path) -> None:
    """Draw a run's `log.csv` into a PNG file. Without matplotlib, which the extra `train` installs, do nothing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    with log.open() as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 4), layout="constrained")
    for place, (key, title) in enumerate(
        [("loss", "training loss"), ("validation", "validation accuracy, 5-way 1-shot")], start=1
    ):
        axes = figure.add_subplot(1, 2, place)
        for stage in get_args(Stage):
            of_stage = [row for row in rows if row["stage"] == stage]
            if not of_stage:
                continue
            axes.plot(
                [float(r["seconds"]) / 60 for r in of_stage], [float(r[key]) for r in of_stage], marker=".", label=stage
            )
        axes.set(title=title, xlabel="minutes of training")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(png, dpi=120)
