"""What it is worth to divide the gradients of the inner loop of drawings by the support's curvature, as for photos.

Every row has the weights of one model, whose own loop does not do so. Ridge, step size and inner temperature were
chosen on two splits of the training alphabets, whose phi had not seen them. All rows answer the same tasks from the
validation alphabets; differences are paired with the first row's, the model's own loop.

    python -m bench.drawing_curvature --data .../images_background.zip --model FOLDER     # some minutes on one core
"""

import argparse
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.common import read_results, write_validation_results
from bench.intervals import as_row, with_ci95
from bench.support_views import measured
from bench.tables import header
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting
from model.evaluation.extracted_features import extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.training.finishing import with_settings


class Loop(NamedTuple):
    """An inner loop that divides its gradients by the curvature."""

    ridge: float
    step: float  # alpha, of every number of the codes
    temperature: float


CHOICES = (None, Loop(2.55, 0.17, 5.6), Loop(0.77, 0.071, 2.33), Loop(2.55, 0.071, 2.33))  # None: its own


def table() -> list[str]:
    """The results as a table for docs/accuracy.md."""
    found = read_results("drawing_curvature")
    loops = [list(rows) for _, rows in groupby(found["rows"], key=lambda row: row["loop"])]
    settings = [f"{row['way']}-way {row['shot']}-shot{', one alphabet' * bool(row['within'])}" for row in loops[0]]
    lines = header("ridge, step and inner temperature", settings)
    for rows in loops:
        loop = rows[0]["loop"]
        name = "no curvature" if loop is None else ", ".join(f"{value:g}" for value in loop.values())
        cells = [_cell(row) for row in rows]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"Earlier weights of `omniglot`, version {found['model_version']}, with inner loops that divide their "
        f"gradients by the support's curvature, on {found['split']}; {found['episodes']} tasks; in brackets the "
        "difference to the first row, on the same tasks, 95 % interval "
        f"({found['date']}: `python -m bench.drawing_curvature`). The last "
        "row's loop is now the default model's.",
    ]


def _cell(row: dict[str, Any]) -> str:
    mean, ci95 = (100 * row["against_first"][name] for name in ("mean", "ci95"))
    apart = "" if row["loop"] is None else f" ({mean:+.2f} ± {ci95:.2f})"
    return f"{100 * row['accuracy']['mean']:.2f}{apart}"


def with_loop(leo: LatentEmbeddingOptimization, loop: Loop | None) -> LatentEmbeddingOptimization:
    """The same weights with another inner loop."""
    if loop is None:
        return leo
    changes = {"inner_ridge": loop.ridge, "inner_lr": loop.step, "inner_temperature": loop.temperature}
    return with_settings(leo, changes)


def main() -> None:
    """Compare every choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--model", type=Path, required=True, help="folder of a model without `inner_ridge`")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    keep_freed_memory()
    leo = LatentEmbeddingOptimization.from_pretrained(given.model)
    extracted = extract_leo_features(leo, load_drawings(given.data).split("validation"))
    first: dict[Setting, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for choice in CHOICES:
        for setting, right, without in measured(LeoMethod(with_loop(leo, choice)), extracted, given.episodes):
            against_first = right - first.setdefault(setting, right)
            figures = with_ci95(accuracy=right, against_first=against_first, steps_gain=right - without)
            rows.append({"loop": None if choice is None else choice._asdict(), **as_row(setting), **figures})
            print(rows[-1], flush=True)
    version = read_info(given.model).version
    what = "inner loops of drawings that divide by the curvature, with the weights of one model"
    write_validation_results("drawing_curvature", what, rows, given.episodes, model_version=version)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
