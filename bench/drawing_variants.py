"""Other models for drawings beside the default one, on the same tasks from the validation alphabets.

Differences are paired with the default model's, which is the first row. The models are what was shipped before, say,
or what `leo train` or `leo card --set` makes.

    python -m bench.drawing_variants --data .../images_background.zip before=runs/before      # a minute each
"""

import argparse
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common import WEIGHTS, read_results, write_validation_results
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


def table() -> list[str]:
    """The results as a table for docs/accuracy.md."""
    found = read_results("drawing_variants")
    models = [list(rows) for _, rows in groupby(found["rows"], key=lambda row: row["model"])]
    settings = [f"{row['way']}-way {row['shot']}-shot{', one alphabet' * bool(row['within'])}" for row in models[0]]
    steps = [f"{of}: gain by the steps" for of, row in zip(settings, models[0], strict=True) if row["within"]]
    lines = header("model", ["version", *settings, *steps])
    for rows in models:
        cells = [_accuracy(row, is_first=rows is models[0]) for row in rows]
        cells += [_plus_minus(row["steps_gain"]) for row in rows if row["within"]]
        lines.append(f"| {rows[0]['model']} | `{rows[0]['version']}` | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['episodes']} tasks from the validation alphabets, in %; in brackets the difference to the first row, "
        "on the same tasks, 95 % interval; then what the inner steps add "
        f"({found['date']}: `python -m bench.drawing_variants`).",
    ]


def _accuracy(row: dict[str, Any], *, is_first: bool) -> str:
    apart = "" if is_first else f" ({_plus_minus(row['against_first'])})"
    return f"{100 * row['accuracy']['mean']:.2f}{apart}"


def _plus_minus(figure: dict[str, float]) -> str:
    return f"{100 * figure['mean']:+.2f} ± {100 * figure['ci95']:.2f}"


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    given = parser.parse_args()
    keep_freed_memory()
    validation = load_drawings(given.data).split("validation")
    others = {name: Path(folder) for name, _, folder in (each.partition("=") for each in given.models)}
    first: dict[Setting, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for name, folder in ({"as shipped": WEIGHTS / "omniglot"} | others).items():
        leo = LatentEmbeddingOptimization.from_pretrained(folder)
        for setting, right, without in measured(LeoMethod(leo), extract_leo_features(leo, validation), given.episodes):
            against_first = right - first.setdefault(setting, right)
            figures = with_ci95(accuracy=right, against_first=against_first, steps_gain=right - without)
            rows.append({"model": name, "version": read_info(folder).version, **as_row(setting), **figures})
            print(rows[-1], flush=True)
    what = "models for drawings beside the default one, on the same validation tasks"
    write_validation_results("drawing_variants", what, rows, given.episodes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
