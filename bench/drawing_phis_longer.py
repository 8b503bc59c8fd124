"""Whether what a larger teacher is worth lasts: those phis of `bench.drawing_phis`, after longer training.

A phi learns as in training today, a larger one does, and a small one learns to agree with the larger one's codes, all
from equally many drawings. They are measured on the validation alphabets, as in `bench.drawing_phis`.

An interrupted run goes on from `--runs` when the same command is given again. Results are written after each phi.

    python -m bench.drawing_phis_longer --data .../images_background.zip      # three quarters of an hour on one core
"""

import argparse
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from bench.common import read_results, write_results
from bench.drawing_phis import DISTILL, FIRST, LARGER, Accuracies, accuracies, cell
from bench.drawing_splits import SETTINGS, codes_of, folds, of_alphabets, short_run, titles, trained
from bench.intervals import as_row, in_percent, with_ci95
from bench.phi_search import SHIPPED
from bench.tables import header
from model.allocator import keep_freed_memory
from model.data.omniglot import load_drawings
from model.leo import LatentEmbeddingOptimization
from model.training.drawings import DrawingTrainer

RESULTS, TAUGHT = "drawing_phis_longer", "taught by the larger phi"
SIDES = {FIRST: 28, LARGER: 52, TAUGHT: 28}


def table() -> list[str]:
    """The results as a table for docs/accuracy.md."""
    found = read_results(RESULTS)
    lines = header("phi", titles())
    for name, rows in groupby(found["rows"], key=lambda row: row["phi"]):
        lines.append(f"| {name} | " + " | ".join(map(cell, rows)) + " |")
    return [
        *lines,
        "",
        f"Class means by the cosine of codes; {found['episodes']:,} tasks of the validation alphabets; in brackets the "
        "difference in points to the first phi on the same tasks, 95 % interval over tasks. Each phi learned from "
        f"{found['training_images']:,} drawings ({found['date']}: `python -m bench.{RESULTS}`).",
    ]


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--images", type=int, default=384_000, help="drawings each phi learns from")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/drawing-phis-longer"), help="where they are trained")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    drawings = load_drawings(given.data)
    fold = folds(drawings)[-1]
    known, new = of_alphabets(drawings, fold, others=True), of_alphabets(drawings, fold)
    rows: list[dict[str, Any]] = []
    first: Accuracies = {}
    larger: LatentEmbeddingOptimization | None = None
    for name, side in SIDES.items():
        teacher = larger if name == TAUGHT else None
        shape = SHIPPED | {"resolution": side}
        config = short_run(given.images, shape, distill=DISTILL if teacher else 0.0)
        leo = trained(DrawingTrainer(config, known, new, given.runs / f"{len(rows)}", torch.device("cpu"), teacher))
        larger = leo if name == LARGER else larger
        for setting, right in accuracies(leo, codes_of(leo, new), SETTINGS, given.episodes).items():
            figures = with_ci95(accuracy=right, against_first=right - first.setdefault(setting, right))
            print(name, setting, in_percent(figures), flush=True)
            rows.append({"phi": name, **as_row(setting), **figures})
        write_results(
            RESULTS,
            "phis of other sizes, and one taught by a larger one, after longer training, on validation alphabets",
            episodes=given.episodes,
            training_images=given.images,
            rows=rows,
        )


if __name__ == "__main__":
    main()
