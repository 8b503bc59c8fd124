"""What a task's negatives, examples of none of its classes, do for `known`.

The tasks are those of `bench.known`, on classes that the model was not trained on. Five or ten negatives are drawn from
the foreign classes themselves, in other pictures than those that are asked about, or from other classes of the data.

    python -m bench.negatives --drawings .../images_background.zip --photos .../caltech101.zip --photos ...
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common import WEIGHTS, write_section
from bench.known import DRAWING_SETTINGS, PHOTO_SETTINGS
from model.baselines.leo import LeoMethod
from model.data.episodes import Episodes, sample_unknown_classes
from model.data.omniglot import load_drawings
from model.data.photos import load_photos
from model.evaluation.accuracy import ClassifiedTasks, Setting, classify_tasks, sample_tasks
from model.evaluation.diagnostics import UNKNOWN_CLASSES
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.evaluation.known import score, shifts
from model.evaluation.unknown_detection import FALSE_REJECTION, foreign_accepted
from model.leo import LatentEmbeddingOptimization

KINDS = ("foreign classes", "other classes")
COUNTS = (5, 10)
Choice = tuple[str, int]  # a kind, and a number of negatives
NONE: Choice = ("none", 0)


def measure(
    leo: LatentEmbeddingOptimization, extracted: ExtractedFeatures, setting: Setting, tasks: int
) -> list[dict[str, Any]]:
    """Measure one kind of task without negatives and with each choice of them."""
    method, generator = LeoMethod(leo), torch.Generator().manual_seed(7)
    sampled = sample_tasks(extracted, setting, tasks)
    groups = extracted.groups if setting.within else None
    pictures = setting.query + max(COUNTS) // UNKNOWN_CLASSES
    foreign = sample_unknown_classes(extracted.counts, sampled, UNKNOWN_CLASSES, pictures, generator, groups)
    used = Episodes(torch.cat([sampled.classes, foreign.classes], dim=1), foreign.drawings, pictures)
    others = sample_unknown_classes(extracted.counts, used, max(COUNTS), 1, generator)
    found: dict[Choice, list[tuple[Tensor, ...]]] = {}
    done = 0
    for part in classify_tasks(method, extracted, sampled):
        now = slice(done, done + len(part.tasks))
        done = now.stop
        of_foreign, *_ = foreign[now].gather(extracted.features)  # [T, 5 pictures, ...]
        of_foreign = of_foreign.unflatten(1, (-1, pictures))
        of_others, *_ = others[now].gather(extracted.features)  # [T, M, ...]
        asked, kept = of_foreign[:, :, : setting.query].flatten(1, 2), of_foreign[:, :, setting.query :]
        found.setdefault(NONE, []).append(scores_of(method, part, asked, None))
        for count in COUNTS:
            of_the_foreign = kept[:, :, : count // UNKNOWN_CLASSES].flatten(1, 2)  # [T, count, ...]
            for kind, negatives in zip(KINDS, (of_the_foreign, of_others[:, :count]), strict=True):
                found.setdefault((kind, count), []).append(scores_of(method, part, asked, negatives))
    return [
        row_of(leo, setting, choice, [torch.cat(each) for each in zip(*parts, strict=True)])
        for choice, parts in found.items()
    ]


def scores_of(
    method: LeoMethod, part: ClassifiedTasks, foreign: Tensor, negatives: Tensor | None
) -> tuple[Tensor, ...]:
    """Score the own queries and the foreign ones of some tasks, less their shifts: [T,Q] and [T,U]."""
    heads = None
    if negatives is not None:  # each is the only example of a class
        heads = method.adapt(negatives, torch.eye(negatives.shape[1]).expand(len(negatives), -1, -1)).heads
    background = method.leo.background
    assert background is not None  # noqa: S101, the shipped models have one
    logits = method.logits(part.state, foreign)
    support, state = method.support_features(part.support), part.state
    of_tasks = torch.tensor(shifts(background, support, state.heads, state.membership, part.tasks.mean_shots))
    of_tasks = of_tasks.unsqueeze(1)
    return (
        score(background, method.classifier_features(part.queries), part.logits, heads) - of_tasks,
        score(background, method.classifier_features(foreign), logits, heads) - of_tasks,
    )


def row_of(leo: LatentEmbeddingOptimization, setting: Setting, choice: Choice, scores: list[Tensor]) -> dict[str, Any]:
    """The figures of one choice, from scores of own and foreign queries."""
    kind, count = choice
    own, foreign = scores
    assert leo.background is not None  # noqa: S101, the shipped models have one
    known = [torch.from_numpy(leo.background.known(each.numpy(), float(setting.shots[0]))) for each in scores]
    rejected = [float((each < FALSE_REJECTION).double().mean()) for each in known]
    row = {
        "way": setting.way,
        "shot": setting.shots[0],
        "within": setting.within,
        "tasks": len(own),
        "negatives": count,
        "of": kind,
        "foreign_accepted": foreign_accepted(own, foreign),
        "at_default": {"own_rejected": rejected[0], "foreign_accepted": 1 - rejected[1]},
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure, and write sections of bench/results/known.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=Path)
    parser.add_argument("--photos", type=Path, action="append", default=[], help="validation classes are taken")
    parser.add_argument("--tasks", type=int, default=1000)
    given = parser.parse_args()
    if given.drawings:
        leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
        validation = extract_leo_features(leo, load_drawings(given.drawings).split("validation"))
        rows = [row for setting in DRAWING_SETTINGS for row in measure(leo, validation, setting, given.tasks)]
        write_section("known", "negatives_of_drawings", {"rows": rows})
    if given.photos:
        leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "photos-lite0")
        of_photos: dict[str, Any] = {}
        for path in given.photos:
            extracted = extract_leo_features(leo, load_photos(path).split("validation"))
            of_photos[path.name] = [
                row for each in PHOTO_SETTINGS for row in measure(leo, extracted, each, given.tasks)
            ]
        write_section("known", "negatives_of_photos", of_photos)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
