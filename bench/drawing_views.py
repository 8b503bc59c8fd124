"""What it is worth that LEO's inner loop sees each drawing of the support in several views, on several splits.

    python -m bench.drawing_views --data .../images_background.zip      # half an hour on one core

For each of the last folds of five alphabets a phi learns all others, as in `bench.drawing_splits`; those that are in
`--runs` already are taken from there. The shipped phi is tried on the validation alphabets. `bench.views_loop` says
what the attempts do with a drawing and its bent copies. A query is seen once. An attempt's few numbers (the size of
each step, the softness of its loss) are meta-learned on alphabets that phi knows. Writes
bench/results/drawing_views.json.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from bench.common import WEIGHTS, read_results, rows_measured_before, write_results
from bench.drawing_splits import (
    SETTINGS,
    TASKS_TO_LEARN,
    arguments,
    folds,
    of_alphabets,
    of_unit_length,
    trained_on_others,
)
from bench.intervals import as_row, mean_in_points
from bench.tables import header
from bench.views_loop import MOST, rows_of
from model.allocator import keep_freed_memory
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import sample_tasks
from model.evaluation.extracted_features import IMAGES_AT_ONCE, ExtractedFeatures
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from model.networks.bent_copies import BentCopies

RESULTS, SHIPPED = "drawing_views", "shipped"
RIDGE, RIDGE_OF_SHIPPED = 0.1, 1.0  # the better of these two for either phi


@torch.no_grad()
def encoded(leo: LatentEmbeddingOptimization, drawings: Drawings) -> ExtractedFeatures:
    """A drawing and its bent copies as LEO encodes them, [C,D,1+V,L]."""
    copies = BentCopies(leo.config.model_copy(update={"support_views": 1 + MOST}))
    alphabets = list(dict.fromkeys(drawings.alphabets))
    images = to_side(drawings.images, leo.config.resolution)  # [C, D, R, R]
    found = []
    for part in images.flatten(0, 1).unsqueeze(1).split(IMAGES_AT_ONCE):
        plain = part.float() / 255  # [B, 1, R, R]
        seen = torch.cat([plain.unsqueeze(1), copies(plain).unflatten(0, (-1, MOST))], dim=1)  # [B, 1+V, 1, R, R]
        codes = leo.encoder.to_code(leo.features(leo.classifier.phi, seen.flatten(0, 1)))
        found.append(codes.unflatten(0, (-1, 1 + MOST)))
    groups = torch.tensor([alphabets.index(name) for name in drawings.alphabets])
    return ExtractedFeatures(torch.cat(found).unflatten(0, images.shape[:2]), drawings.counts, groups)


def rows_of_split(
    leo: LatentEmbeddingOptimization, known: Drawings, new: Drawings, ridge: float, episodes: int
) -> Iterator[dict[str, Any]]:
    """Every attempt on new alphabets; its numbers are learned on alphabets that phi knows."""
    of_known, of_new = of_unit_length(encoded(leo, known), encoded(leo, new))
    tasks = [(of_known, sample_tasks(of_known, setting, TASKS_TO_LEARN, seed=2)) for setting in SETTINGS]
    return rows_of(of_new, tasks, list(SETTINGS), ridge, episodes)


def table() -> list[str]:
    """The results as a table for docs/accuracy.md: means over splits, then the shipped phi."""
    found = read_results(RESULTS)
    rows = found["rows"]
    kinds = [f"{s.way}-way {s.shots[0]}-shot{', one alphabet' * (s.within is not None)}" for s in SETTINGS]
    lines = header("phi, views of the support", [f"{kind}: gain of steps, end less the first end" for kind in kinds])
    for phi, is_shipped in (("short", False), ("shipped", True)):
        of_phi = [row for row in rows if (row["split"] == SHIPPED) == is_shipped]
        for name in dict.fromkeys(row["attempt"] for row in of_phi):
            cells = []
            for setting in SETTINGS:
                own = [row for row in of_phi if row["attempt"] == name and as_row(setting).items() <= row.items()]
                cells.append(
                    ", ".join(mean_in_points([row[what] for row in own]) for what in ("gain", "against_first"))
                )
            lines.append(f"| {phi}, {name} | " + " | ".join(cells) + " |")
    splits = len({row["split"] for row in rows} - {SHIPPED})
    return [
        *lines,
        "",
        f"{found['episodes']} tasks of five alphabets that phi never saw. Short: the mean over {splits} splits, with a "
        f"phi for each that learned all other alphabets from {found['training_images']:,} drawings. Shipped: the phi "
        "and encoder of the default model, without its decoder, on the validation alphabets. The steps start from "
        f"class means and are divided by the curvature, with a ridge of {RIDGE:g} or {RIDGE_OF_SHIPPED:g}. A query is "
        "seen once "
        f"({found['date']}: `python -m bench.drawing_views`).",
    ]


def main() -> None:
    """Train, learn, measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--only", help="measure one split anew, by its first alphabet, or `shipped`")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    drawings = load_drawings(given.data)
    every = folds(drawings)
    known = of_alphabets(drawings, every[0])  # measured by nobody, so each phi knows it
    phis = {fold[0]: partial(trained_on_others, drawings, fold, given) for fold in every[-given.splits :]}
    phis[SHIPPED] = partial(LatentEmbeddingOptimization.from_pretrained, WEIGHTS / "omniglot")
    if given.only not in (None, *phis):
        parser.error(f"--only {given.only}: there are {', '.join(phis)}")
    settings = {"episodes": given.episodes, "training_images": given.images}
    before = rows_measured_before(RESULTS, settings) if given.only else []
    rows = [row for row in before if row["split"] != given.only]
    for fold, (split, phi) in zip([*every[-given.splits :], every[-1]], phis.items(), strict=True):
        if given.only in (None, split):
            ridge = RIDGE_OF_SHIPPED if split == SHIPPED else RIDGE
            found = rows_of_split(phi(), known, of_alphabets(drawings, fold), ridge, given.episodes)
            rows += ({"split": split, **row} for row in found)
    write_results(
        RESULTS,
        "LEO's inner steps on several splits of the drawings with several views of each support drawing: accuracy with "
        "steps off and on, the gain of the steps, and the difference to the first attempt, on the same tasks",
        **settings,
        rows=rows,
    )


if __name__ == "__main__":
    main()
