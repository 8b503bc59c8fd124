"""What a task's negatives, examples of none of its classes, do for `known`.

The tasks are those of `bench.known`, on classes that the model was not trained on. Negatives are drawn from the foreign
classes themselves, in other pictures than those that are asked about, or from other classes of the data. For photos the
numbers of `model.negatives` are also chosen on all sources but one, for both models, and tried on tasks of that one.

    python -m bench.negatives --drawings .../images_background.zip --photos .../caltech101.zip --photos ...
"""

import argparse
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.common import WEIGHTS, write_section
from bench.known import DRAWING_SETTINGS, PHOTO_SETTINGS, PHOTOS_A_CLASS, SMALL_SETTINGS
from bench.known_tables import PHOTO_MODELS
from model import negatives as lines
from model.baselines.leo import LeoMethod, LeoState
from model.data.episodes import Episodes, sample_unknown_classes
from model.data.omniglot import load_drawings
from model.data.photos import load_photos
from model.evaluation.accuracy import ClassifiedTasks, Setting, classify_tasks, sample_tasks
from model.evaluation.diagnostics import UNKNOWN_CLASSES
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.evaluation.known import shifts
from model.evaluation.unknown_detection import FALSE_REJECTION, foreign_accepted
from model.leo import LatentEmbeddingOptimization
from model.serving.task_background import background_of_task, code_scale

KINDS = ("foreign classes", "other classes")
COUNTS = {False: (5, 10), True: (5, 10, 25)}  # of drawings, and of photos: 1, 2 and 5 of each foreign class
MOST_OF_OTHERS = 10
Numbers = tuple[float, float, float, float, float]  # of `model.negatives`
# What is tried of them, and how many of a source's own may be rejected meanwhile: on average, and in one kind of task.
CHOICES: list[Numbers] = list(
    itertools.product((0.5, 0.75), (0.05, 0.1, 0.15, 0.2), (0.2, 0.4, 0.6), (0.0, 0.06), (8.0, 12.0))
)
MOST_REJECTED, MOST_REJECTED_OF_ONE_KIND, MARGIN = 0.065, 0.12, 0.005
NO_LOSS = (0.0, 0.0, 0.0, 0.0, 0.0)
SHIPPED = (lines.SHARE, lines.FREE, lines.FREE_FOR_ONE_EXAMPLE, lines.FREE_FOR_MORE, lines.LOSS)
CLASSES_AND_PICTURES = ((1, 1), (1, 4), *((UNKNOWN_CLASSES, count) for count in (1, 2, 5)))  # of negatives
Choice = tuple[str, int]  # a kind, and a number of negatives
NONE: Choice = ("none", 0)


def measure(
    leo: LatentEmbeddingOptimization, extracted: ExtractedFeatures, setting: Setting, tasks: int
) -> list[dict[str, Any]]:
    """Measure one kind of task without negatives and with each choice of them."""
    method, generator = LeoMethod(leo), torch.Generator().manual_seed(7)
    sampled = sample_tasks(extracted, setting, tasks)
    groups = extracted.groups if setting.within else None
    counts = COUNTS[leo.config.pretrained is not None]
    pictures = setting.query + max(counts) // UNKNOWN_CLASSES
    foreign = sample_unknown_classes(extracted.counts, sampled, UNKNOWN_CLASSES, pictures, generator, groups)
    used = Episodes(torch.cat([sampled.classes, foreign.classes], dim=1), foreign.drawings, pictures)
    has_others = len(extracted.counts) - len(used.classes[0]) >= MOST_OF_OTHERS
    others = sample_unknown_classes(extracted.counts, used, MOST_OF_OTHERS, 1, generator) if has_others else foreign
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
        for count in counts:
            of_the_foreign = kept[:, :, : count // UNKNOWN_CLASSES].flatten(1, 2)  # [T, count, ...]
            found.setdefault((KINDS[0], count), []).append(scores_of(method, part, asked, of_the_foreign))
            if count <= MOST_OF_OTHERS and has_others:
                found.setdefault((KINDS[1], count), []).append(scores_of(method, part, asked, of_others[:, :count]))
    return [
        row_of(leo, setting, choice, [torch.cat(each) for each in zip(*parts, strict=True)])
        for choice, parts in found.items()
    ]


def scores_of(
    method: LeoMethod, part: ClassifiedTasks, foreign: Tensor, negatives: Tensor | None
) -> tuple[Tensor, ...]:
    """Score own queries, foreign ones and the negatives themselves, less their tasks' shifts: [T,Q], [T,U], [T,M]."""
    leo, state = method.leo, part.state
    assert leo.background is not None  # noqa: S101, the shipped models have one
    of_none = None if negatives is None else encoded(method, negatives)
    support = method.support_features(part.support)
    of_tasks = shifts(leo.background, support, state.heads, state.membership, part.tasks.mean_shots)
    found: tuple[list[Tensor], ...] = ([], [], [])
    for t, shift in enumerate(of_tasks):
        heads, codes = state.heads[t], state.codes[t]
        if of_none is not None:
            heads, codes = torch.cat([heads, of_none.heads[t]]), torch.cat([codes, of_none.codes[t]])
        ways = len(state.heads[t])
        background = background_of_task(leo, heads.numpy(), codes.numpy(), ways, ways * part.tasks.mean_shots[t])
        assert background is not None  # noqa: S101, as above
        asked = part.queries[t], foreign[t], foreign[t, :0] if negatives is None else negatives[t]
        for scores, pictures in zip(found, asked, strict=True):
            features = method.classifier_features(pictures)
            best = (features @ heads[:ways, :-1].T + heads[:ways, -1]).amax(dim=1)
            scores.append(torch.from_numpy(background.score(features.numpy(), best.numpy())) - shift)
    return tuple(torch.stack(scores) for scores in found)


def encoded(method: LeoMethod, negatives: Tensor) -> LeoState:
    """Adapt to negatives [T,M,...] as the service does: each is the only example of a class."""
    tasks, count = negatives.shape[:2]
    if code_scale(method.leo) is None:
        return method.adapt(negatives, torch.eye(count).expand(tasks, -1, -1))
    alone = method.adapt(negatives.flatten(0, 1).unsqueeze(1), torch.ones(tasks * count, 1, 1))
    shape = (tasks, count, -1)
    return LeoState(alone.codes.view(shape), alone.heads.view(shape), alone.membership.view(shape))


def row_of(leo: LatentEmbeddingOptimization, setting: Setting, choice: Choice, scores: list[Tensor]) -> dict[str, Any]:
    """The figures of one choice, from scores of own and foreign queries."""
    kind, count = choice
    own, foreign, _ = scores
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
    if count:
        row["negatives_accepted"] = 1 - rejected[2]
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
        of_models = {model: of_photos(model, given.photos, given.tasks) for model in PHOTO_MODELS}
        left_out = leave_one_source_out([rejected for _, rejected in of_models.values()], given.tasks)
        for (model, (rows, _)), of_model in zip(of_models.items(), left_out, strict=True):
            write_section("known", f"negatives_of_{model}", {"sources": rows, "left_out": of_model})


def of_photos(model: str, data: list[Path], tasks: int) -> tuple[dict[str, Any], dict[str, "SourceRejected"]]:
    """What negatives do with a model for photos, by source, and what each choice of the numbers would reject."""
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / model)
    sources = {path.name: features_of(leo, path) for path in data}
    rows = {
        name: [row for each in settings_of(extracted) for row in measure(leo, extracted, each, tasks)]
        for name, extracted in sources.items()
    }
    return rows, {name: rejected_by_choice(leo, extracted, tasks) for name, extracted in sources.items()}


def features_of(leo: LatentEmbeddingOptimization, path: Path) -> ExtractedFeatures:
    """Validation classes of a source, all of one that has too few of them."""
    photos = load_photos(path)
    held_back = photos.split("validation")
    return extract_leo_features(leo, (held_back if len(held_back) >= 15 else photos).first(PHOTOS_A_CLASS))


def settings_of(extracted: ExtractedFeatures) -> tuple[Setting, ...]:
    """The kinds of tasks that a source has classes enough for."""
    return PHOTO_SETTINGS if len(extracted.counts) >= 15 else SMALL_SETTINGS


@dataclass(frozen=True)
class Walk:
    """Own or foreign queries of a task: their scores without negatives, and how far they have gone along its lines."""

    examples: int
    margins: Tensor  # [Q]: scores, less that below which a picture is unknown
    gone: Tensor  # [Q, N+M]
    lengths: Tensor  # [M]

    def rejected(self, share: float, free: float, for_one: float, for_more: float, loss: float) -> float:
        """How many of them are unknown by these numbers of `model.negatives`."""
        negatives = len(self.lengths)
        to_best = self.gone[:, :-negatives].amax(dim=1, keepdim=True)
        lead = ((self.gone[:, -negatives:] - share * to_best) / self.lengths).amax(dim=1)
        lead -= free + for_one / self.examples + for_more * math.log(negatives)
        return float((self.margins < loss * lead.clamp(min=0)).double().mean())


class Rejected(NamedTuple):
    """Shares of pictures that are unknown in tasks of one source."""

    own: float
    most_own: float  # in the kind of task that loses most
    foreign: float

    def is_fair(self, without: "Rejected") -> bool:
        """Whether few of the own are lost, or hardly more than without negatives."""
        most_of_one_kind = max(MOST_REJECTED_OF_ONE_KIND, without.most_own + MARGIN)
        return self.own <= max(MOST_REJECTED, without.own + MARGIN) and self.most_own <= most_of_one_kind


def walks(
    leo: LatentEmbeddingOptimization, extracted: ExtractedFeatures, setting: Setting, tasks: int
) -> Iterator[tuple[Walk, Walk]]:
    """Own and foreign queries of tasks whose negatives are 1 to 5 other pictures of one foreign class, or of all."""
    method, generator, background = LeoMethod(leo), torch.Generator().manual_seed(7), leo.background
    scale = code_scale(leo)
    assert background is not None and scale is not None  # noqa: PT018, S101, the shipped models for photos
    sampled, most, done = sample_tasks(extracted, setting, tasks), 5, 0
    of_foreign = sample_unknown_classes(extracted.counts, sampled, UNKNOWN_CLASSES, setting.query + most, generator)
    quantiles = background.quantiles_at(np.array([setting.shots[0]], dtype=np.float32))[0]
    threshold = float(np.interp(FALSE_REJECTION, background.levels, quantiles))
    for part in classify_tasks(method, extracted, sampled):
        pictures, *_ = of_foreign[done : done + len(part.tasks)].gather(extracted.features)
        pictures = pictures.unflatten(1, (-1, setting.query + most))  # [T, U, query + 5, F]
        state, ways = part.state, setting.way
        support = method.support_features(part.support)
        for t, shift in enumerate(shifts(background, support, state.heads, state.membership, part.tasks.mean_shots)):
            classes, count = CLASSES_AND_PICTURES[(done + t) % len(CLASSES_AND_PICTURES)]
            negatives = pictures[t, :classes, setting.query : setting.query + count].flatten(0, 1)
            of_none = encoded(method, negatives.unsqueeze(0))
            heads = torch.cat([state.heads[t], of_none.heads[0]]).numpy()
            codes = torch.cat([state.codes[t], of_none.codes[0]]).numpy()
            examples = setting.shots[0] * ways
            found = lines.Lines.of_task(heads, codes, ways, examples, scale)
            walked = []
            for queries in (part.queries[t], pictures[t, :classes, : setting.query].flatten(0, 1)):
                features = method.classifier_features(queries).numpy()
                best = (features @ heads[:ways, :-1].T + heads[:ways, -1]).max(axis=1)
                margins = background.score(features, best) - np.float32(shift + threshold)
                gone = features @ found.heads[:, :-1].T + found.heads[:, -1]
                walked.append(Walk(examples, *(torch.from_numpy(each) for each in (margins, gone, found.lengths))))
            yield walked[0], walked[1]
        done += len(part.tasks)


@dataclass(frozen=True)
class SourceRejected:
    """What is rejected in tasks of a source by each choice of the numbers."""

    by_choice: dict[Numbers, Rejected]
    kinds: int  # of tasks

    def is_fair(self, choice: Numbers) -> bool:
        """Whether the choice costs few of the source's own."""
        return self.by_choice[choice].is_fair(self.by_choice[NO_LOSS])


def rejected_by_choice(leo: LatentEmbeddingOptimization, extracted: ExtractedFeatures, tasks: int) -> SourceRejected:
    """Try every choice on tasks of a source."""
    walked = [list(walks(leo, extracted, setting, tasks)) for setting in settings_of(extracted)]
    found = {}
    for choice in (NO_LOSS, SHIPPED, *CHOICES):
        of_kinds = [np.mean([[walk.rejected(*choice) for walk in pair] for pair in each], axis=0) for each in walked]
        own, foreign = np.mean(of_kinds, axis=0)
        found[choice] = Rejected(float(own), float(np.max(of_kinds, axis=0)[0]), float(foreign))
    return SourceRejected(found, len(walked))


def leave_one_source_out(models: list[dict[str, SourceRejected]], tasks: int) -> list[list[dict[str, Any]]]:
    """Choose the numbers on all sources but one, by what is rejected of the foreign, and measure on that one.

    All models have the same numbers, so they are chosen on all models, by the sources of each. Returns rows by model.
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in models]
    for left in models[0]:
        others = [of_source for of_model in models for name, of_source in of_model.items() if name != left]
        allowed = [choice for choice in CHOICES if all(each.is_fair(choice) for each in others)]
        chosen = max(allowed, key=lambda choice: sum(each.by_choice[choice].foreign for each in others))
        for of_model, own_rows in zip(models, rows, strict=True):
            row = {"source": left, "tasks": tasks * of_model[left].kinds, "chosen": chosen}
            for name, choice in (("without", NO_LOSS), ("chosen_on_others", chosen), ("shipped", SHIPPED)):
                rejected = of_model[left].by_choice[choice]
                row[name] = {"own_rejected": rejected.own, "foreign_accepted": 1 - rejected.foreign}
            print(row, flush=True)
            own_rows.append(row)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
