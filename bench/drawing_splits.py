"""What inner steps add on several splits of the drawings, by whether their numbers were learned on familiar features.

The alphabets, by name, are cut into folds of five. For each of the last `--splits` folds a phi learns the characters of
all other alphabets (stage 1 of training, from few drawings), and the attempts are tried on tasks of the fold, which
that phi never saw. An attempt's numbers (the size of each step, the softness of its loss, the scale of the logits) are
learned on alphabets that phi was trained on, or cross-fitted: on each of the other folds by the features of the phi
that was not trained on it. The inner loop is that of `bench.photos_steps`, from class means, with one view a drawing.

An interrupted run goes on from `--runs` when the same command is given again.

    python -m bench.drawing_splits --data .../images_background.zip      # half an hour on one core
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.common import read_results, write_results
from bench.intervals import as_row, in_percent, with_ci95
from bench.phi_search import SHIPPED
from bench.photos_steps import Attempt, InnerLoop, Products, learn, products_of, right
from bench.tables import header
from model.allocator import keep_freed_memory
from model.config import LEOConfig
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import Setting, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig
from model.training.drawings import DrawingTrainer

FOLD, PRETRAIN_BATCH = 5, 128
ATTEMPTS = {
    "plain steps": Attempt(),
    "divided by the curvature, ridge 0.1": Attempt(divided=0.1),
    "divided by the curvature, ridge 1": Attempt(divided=1.0),
}
SETTINGS = (
    Setting(20, (1, 1), 10, "alphabet"),
    Setting(20, (5, 5), 10, "alphabet"),
    Setting(20, (1, 1), 10),
    Setting(5, (1, 1), 10),
)
TASKS_TO_LEARN = 60  # of each setting and fold


@dataclass(frozen=True)
class Split:
    """A fold and what its phi makes of it: tasks to measure on, and tasks to learn numbers on."""

    alphabets: tuple[str, ...]
    measured: dict[Setting, Products]
    unfamiliar: list[Products]  # of the fold
    familiar: list[Products]  # of as many alphabets that phi was trained on


def titles() -> list[str]:
    """The settings as columns of a table."""
    return [f"{s.way}-way {s.shots[0]}-shot{', one alphabet' * (s.within is not None)}" for s in SETTINGS]


def folds(drawings: Drawings) -> list[tuple[str, ...]]:
    """The alphabets in fives, by name; the last are the validation alphabets of all other benches."""
    names = tuple(dict.fromkeys(drawings.alphabets))
    return [names[at : at + FOLD] for at in range(0, len(names), FOLD)]


def of_alphabets(drawings: Drawings, names: tuple[str, ...], *, others: bool = False) -> Drawings:
    """The characters of some alphabets, or of all others."""
    return drawings.subset([c for c, name in enumerate(drawings.alphabets) if (name in names) != others])


def short_run(images: int, shape: dict[str, Any] = SHIPPED, **more: Any) -> DrawingTrainConfig:
    """The settings of a run in which a phi learns characters from so many drawings, and nothing else."""
    steps = images // PRETRAIN_BATCH
    leo = LEOConfig(decoder_skip=True, **shape)
    return DrawingTrainConfig(leo=leo, pretrain_steps=steps, episode_steps=0, validate_every=steps, **more)


def trained(trainer: DrawingTrainer) -> LatentEmbeddingOptimization:
    """The model of a run, which is begun, gone on with, or done already."""
    for _ in trainer.run():
        pass
    return trainer.leo.eval()


@torch.no_grad()
def codes_of(leo: LatentEmbeddingOptimization, drawings: Drawings) -> ExtractedFeatures:
    """The drawings as the encoder sees them."""
    found = extract_leo_features(leo, drawings)
    return ExtractedFeatures(leo.encoder.to_code(found.features), found.counts, found.groups)


def trained_on_others(
    drawings: Drawings, fold: tuple[str, ...], given: argparse.Namespace
) -> LatentEmbeddingOptimization:
    """A LEO whose phi has learned all alphabets but those of a fold."""
    new, training = of_alphabets(drawings, fold), of_alphabets(drawings, fold, others=True)
    folder = given.runs / fold[0].lower()
    return trained(DrawingTrainer(short_run(given.images), training, new, folder, torch.device("cpu")))


def of_unit_length(known: ExtractedFeatures, new: ExtractedFeatures) -> tuple[ExtractedFeatures, ExtractedFeatures]:
    """Divide codes [C,D,...,L] by the mean length of those that phi knows: all phis get codes of one length."""
    length = known.features.square().sum(dim=-1).mean().sqrt()
    return replace(known, features=known.features / length), replace(new, features=new.features / length)


def split_of(drawings: Drawings, fold: tuple[str, ...], known: tuple[str, ...], given: argparse.Namespace) -> Split:
    """Train a phi on all but a fold, and encode the fold and some alphabets that phi knows."""
    leo = trained_on_others(drawings, fold, given)
    of_known, of_new = (codes_of(leo, of_alphabets(drawings, names)) for names in (known, fold))
    of_known, of_new = of_unit_length(of_known, of_new)
    return Split(
        fold,
        {s: products_of(of_new.features, sample_tasks(of_new, s, given.episodes)) for s in SETTINGS},
        list(_to_learn(of_new)),
        list(_to_learn(of_known)),
    )


def _to_learn(extracted: ExtractedFeatures) -> Iterator[Products]:
    for setting in SETTINGS:
        yield products_of(extracted.features, sample_tasks(extracted, setting, TASKS_TO_LEARN, seed=2))


@torch.no_grad()
def loss_on(loop: InnerLoop, tasks: list[Products]) -> float:
    """The query loss, the mean over settings."""
    losses = []
    for each in tasks:
        logits: Tensor = loop(each, loop.attempt.steps)
        labels = each.labels(logits.shape[1]).repeat(len(logits))
        losses.append(float(F.cross_entropy(logits.flatten(0, 1), labels)))
    return sum(losses) / len(losses)


def rows_of(split: Split, others: list[Split]) -> Iterator[dict[str, Any]]:
    """Learn each attempt's numbers in both ways, and measure on the fold."""
    sources = {"familiar": split.familiar, "cross-fitted": [each for other in others for each in other.unfamiliar]}
    for name, attempt in ATTEMPTS.items():
        for learned_on, tasks in sources.items():
            loop = InnerLoop(attempt)
            learn(loop, tasks)
            losses = {"loss_learning": loss_on(loop, tasks), "loss_new": loss_on(loop, split.unfamiliar)}
            for setting, measured in split.measured.items():
                off, on = right(loop, measured, 0), right(loop, measured, attempt.steps)
                figures = with_ci95(off=off, on=on, gain=on - off)
                row = {"split": split.alphabets[0], "attempt": name, "learned_on": learned_on, **losses}
                print(row, setting, in_percent(figures), flush=True)
                yield {**row, **as_row(setting), **figures}


def table() -> list[str]:
    """The results as a table for docs/accuracy.md."""
    found = read_results("drawing_splits")
    lines = header("alphabets, steps, what they were learned on", [*titles(), "query loss: learning, new"])
    for (split, attempt, learned_on), several in groupby(
        found["rows"], key=lambda row: (row["split"], row["attempt"], row["learned_on"])
    ):
        rows = list(several)
        cells = [
            f"{100 * row['off']['mean']:.2f} ({100 * row['gain']['mean']:+.2f} ± {100 * row['gain']['ci95']:.2f})"
            for row in rows
        ]
        losses = f"{rows[0]['loss_learning']:.3f}, {rows[0]['loss_new']:.3f}"
        alphabets = split.partition("_")[0]
        lines.append(f"| {alphabets} and four more, {attempt}, {learned_on} | " + " | ".join([*cells, losses]) + " |")
    return [
        *lines,
        "",
        f"Accuracy without steps, in brackets what five add, in points; {found['episodes']:,} tasks, 95 % intervals, "
        "of five alphabets that phi never saw. Each phi learned all other alphabets from "
        f"{found['training_images']:,} drawings, far fewer than the shipped model had, so more is left for the steps. "
        "What is learned of them is each step's size, the softness of the loss and the scale of the logits: on "
        "alphabets that phi knows (familiar), or on those of the other splits, by phis that had not seen them "
        f"(cross-fitted). Which of the two makes no difference ({found['date']}: `python -m bench.drawing_splits`).",
    ]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What a command that trains a phi for each split is given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--images", type=int, default=64_000, help="drawings each phi learns from")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/drawing-splits"), help="where they are trained")
    return parser


def main() -> None:
    """Train, learn, measure and write."""
    given = arguments(__doc__).parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    drawings = load_drawings(given.data)
    every = folds(drawings)
    # The first fold is measured by nobody, so each phi knows it.
    splits = [split_of(drawings, fold, every[0], given) for fold in every[-given.splits :]]
    rows = [row for split in splits for row in rows_of(split, [other for other in splits if other is not split])]
    write_results(
        "drawing_splits",
        "LEO's inner steps on several splits of the drawings, their numbers learned on alphabets that phi knew or not",
        episodes=given.episodes,
        training_images=given.images,
        rows=rows,
    )


if __name__ == "__main__":
    main()
