"""What phi learns from, on several splits of the drawings: strokes drawn anew, a larger teacher, size and place.

As in `bench.drawing_splits`, a phi learns the characters of all alphabets but a fold, and is measured on tasks of that
fold. Each learns from equally many drawings, and is compared with the first, which learns as in training today, on the
same tasks. Answers are those of class means by the cosine of codes.

Size and place of the ink, which framing takes away, stand beside the codes of the first phi as three more numbers.
Their weight is chosen on the other splits, whose phis had not seen what it is chosen on.

An interrupted run goes on from `--runs` when the same command is given again. Results are written after each phi; with
`--trained-only` they are those of the phis that are trained so far.

    python -m bench.drawing_phis --data .../images_background.zip      # an hour on one core
"""

import argparse
import re
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.common import read_results, rows_measured_before, write_results
from bench.drawing_material import Kind, Material, learned_from, made_of
from bench.drawing_splits import SETTINGS, codes_of, folds, of_alphabets, short_run, titles, trained
from bench.intervals import as_row, in_percent, with_ci95
from bench.phi_search import SHIPPED
from bench.tables import header
from model.allocator import keep_freed_memory
from model.baselines.extractors import LeoExtractor
from model.baselines.prototypes import CosinePrototypes
from model.evaluation.accuracy import Setting, accuracy_per_task, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures
from model.leo import LatentEmbeddingOptimization
from model.training.drawings import DrawingTrainer


@dataclass(frozen=True)
class Phi:
    """What a phi learns from, and its shape."""

    learns: Kind = "drawings"
    side: int = 28
    teacher: str | None = None
    seed: int = 0


FIRST, LARGER = "as in training today", "a larger phi, of 52 px"
PHIS = {
    FIRST: Phi(),
    "half of the drawings drawn anew, stroke by stroke": Phi("strokes"),
    LARGER: Phi(side=52),
    "taught by the larger phi": Phi(teacher=LARGER),
    "half of the drawings of characters composed of strokes": Phi("composed"),
    "as in training today, from another seed": Phi(seed=1),
}
PLACED = "size and place of the ink beside the codes"
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)  # of size and place
DISTILL = 5.0  # weight of the agreement with a teacher, as in the preset `omniglot-105`

Accuracies = dict[Setting, Tensor]  # of each task, [T]


def folder_of(name: str, fold: tuple[str, ...], given: argparse.Namespace) -> Path:
    """Where a phi is trained; its model is there at the end."""
    runs: Path = given.runs
    return runs / re.sub(r"[^0-9a-z]+", "-", name.lower()) / fold[0].lower()


def phi_of(
    material: Material, fold: tuple[str, ...], name: str, given: argparse.Namespace
) -> LatentEmbeddingOptimization:
    """A phi of the given name that has not seen the fold, and before it its teacher."""
    phi = PHIS[name]
    teacher = None if phi.teacher is None else phi_of(material, fold, phi.teacher, given)
    shape = SHIPPED | {"resolution": phi.side}
    config = short_run(given.images, shape, seed=phi.seed, distill=DISTILL if teacher else 0.0)
    folder = folder_of(name, fold, given)
    known, new = learned_from(material, fold, phi.learns), of_alphabets(material.drawings, fold)
    return trained(DrawingTrainer(config, known, new, folder, torch.device("cpu"), teacher))


def accuracies(
    leo: LatentEmbeddingOptimization, codes: ExtractedFeatures, settings: tuple[Setting, ...], tasks: int, seed: int = 0
) -> Accuracies:
    """The accuracy of class means in each task of a fold."""
    method = CosinePrototypes(LeoExtractor(leo))
    return {each: accuracy_per_task(method, codes, sample_tasks(codes, each, tasks, seed)) for each in settings}


class Placed:
    """The first phi's codes of a split's fold, and beside them size and place of the ink."""

    def __init__(self, material: Material, fold: tuple[str, ...], leo: LatentEmbeddingOptimization) -> None:
        self.leo, self.codes = leo, codes_of(leo, of_alphabets(material.drawings, fold))
        of_fold = torch.tensor([name in fold for name in material.drawings.alphabets])
        self.places, known = material.places[of_fold], material.places[~of_fold]  # [C, D, 3]
        self.places = (self.places - known.mean(dim=(0, 1))) / known.std(dim=(0, 1))

    def accuracies(self, weight: float, tasks: int, seed: int = 0) -> Accuracies:
        """The accuracies of tasks within one alphabet, with size and place of a weight."""
        beside = torch.cat([F.normalize(self.codes.features, dim=-1), weight * self.places], dim=-1)
        within = tuple(setting for setting in SETTINGS if setting.within)
        return accuracies(self.leo, replace(self.codes, features=beside), within, tasks, seed)

    def to_choose_by(self, tasks: int) -> Tensor:
        """The mean accuracy by each weight, on tasks that are not measured on."""
        of_weights = [self.accuracies(weight, tasks, seed=2).values() for weight in WEIGHTS]
        return torch.stack([torch.cat(list(each)).mean() for each in of_weights])  # [W]


def table() -> list[str]:
    """The results as a table for docs/accuracy.md: of each phi its mean over splits, then each split."""
    found = read_results("drawing_phis")
    lines = header("phi", ["measured on", *titles()])
    for name, several in groupby(found["rows"], key=lambda row: row["phi"]):
        of_splits = [list(rows) for _, rows in groupby(several, key=lambda row: row["split"])]
        means = [_mean(list(rows)) for rows in zip(*of_splits, strict=True)]
        measured = {f"mean of {len(of_splits)}": means} | {
            rows[0]["split"].partition("_")[0]: rows for rows in of_splits
        }
        for split, rows in measured.items():
            cells = [cell(row) for row in rows] + ["-"] * (len(SETTINGS) - len(rows))
            lines.append(f"| {name} | {split} | " + " | ".join(cells) + " |")
    weights = {row["split"]: row["weight"] for row in found["rows"] if row["phi"] == PLACED}
    return [
        *lines,
        "",
        f"Class means by the cosine of codes; {found['episodes']:,} tasks of each split's five alphabets, which phi "
        "never saw, named by the first of them; in brackets the difference in points to the first phi on the same "
        "tasks, 95 % interval over tasks. Each phi learned all other alphabets from "
        f"{found['training_images']:,} drawings. The weight of size and place is that which is best on the other "
        f"splits: {', '.join(f'{w:g}' for w in weights.values())} ({found['date']}: `python -m bench.drawing_phis`).",
    ]


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of one setting over splits; the intervals are those of independent means."""
    return {"phi": rows[0]["phi"]} | {
        name: {
            "mean": sum(row[name]["mean"] for row in rows) / len(rows),
            "ci95": sum(row[name]["ci95"] ** 2 for row in rows) ** 0.5 / len(rows),
        }
        for name in ("accuracy", "against_first")
    }


def cell(row: dict[str, Any]) -> str:
    """A phi's accuracy in one setting, and how far it is ahead of the first."""
    accuracy, against = row["accuracy"], row["against_first"]
    if row["phi"] == FIRST:
        return f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['ci95']:.2f}"
    return f"{100 * accuracy['mean']:.2f} ({100 * against['mean']:+.2f} ± {100 * against['ci95']:.2f})"


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--images", type=int, default=64_000, help="drawings each phi learns from")
    parser.add_argument("--splits", type=int, default=3, help="2 or more")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/drawing-phis"), help="where they are trained")
    parser.add_argument("--trained-only", action="store_true", help="measure the phis that are trained, train no more")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    material = made_of(given.data, given.runs)
    splits = folds(material.drawings)[-given.splits :]
    settings = {"episodes": given.episodes, "training_images": given.images}
    rows = rows_measured_before("drawing_phis", settings)
    before = {(row["phi"], row["split"]) for row in rows}
    order = {
        place: at
        for at, place in enumerate(product(dict.fromkeys((FIRST, PLACED, *PHIS)), [fold[0] for fold in splits]))
    }
    first: dict[tuple[str, ...], Accuracies] = {}

    def add(name: str, fold: tuple[str, ...], found: Accuracies, **more: float) -> None:
        if (name, fold[0]) in before:
            return
        for setting, right in found.items():
            figures = with_ci95(accuracy=right, against_first=right - first[fold][setting])
            print(name, fold[0], setting, in_percent(figures), more, flush=True)
            rows.append({"phi": name, "split": fold[0], **more, **as_row(setting), **figures})
        rows.sort(key=lambda row: order[row["phi"], row["split"]])
        write_results(
            "drawing_phis",
            "phis that learn from other drawings, of another teacher or beside size and place, on several splits",
            **settings,
            rows=rows,
        )

    def measured(name: str, fold: tuple[str, ...]) -> LatentEmbeddingOptimization:
        leo = phi_of(material, fold, name, given)
        found = accuracies(leo, codes_of(leo, of_alphabets(material.drawings, fold)), SETTINGS, given.episodes)
        first.setdefault(fold, found)
        add(name, fold, found)
        return leo

    placed = [Placed(material, fold, measured(FIRST, fold)) for fold in splits]
    if not all((PLACED, fold[0]) in before for fold in splits):
        by_weight = [each.to_choose_by(given.episodes // 5) for each in placed]
        for fold, each in zip(splits, placed, strict=True):
            others = torch.stack([w for other, w in zip(placed, by_weight, strict=True) if other is not each])
            weight = WEIGHTS[int(others.mean(dim=0).argmax())]
            add(PLACED, fold, each.accuracies(weight, given.episodes), weight=weight)
    for name, fold in product(PHIS, splits):
        missing = given.trained_only and not (folder_of(name, fold, given) / "model").exists()
        if name != FIRST and (name, fold[0]) not in before and not missing:
            measured(name, fold)


if __name__ == "__main__":
    main()
