"""How many pictures of other classes pass, and how many of a task's own are lost, by `known` and by other scores.

For each kind of task, on classes that the model was not trained on: the share of foreign pictures that pass where 5 %
of the own are rejected, and both shares at the service's default. That default was fitted on the same classes, so for
drawings it is also fitted on four validation alphabets and tried on tasks of the fifth.

    python -m bench.known --drawings .../images_background.zip --photos .../caltech101.zip --photos ...
"""

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.common import WEIGHTS, write_section
from model.baselines.leo import LeoMethod
from model.data.omniglot import load_drawings
from model.data.photos import load_photos
from model.evaluation.accuracy import Setting
from model.evaluation.diagnostics import diagnose
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.evaluation.known import IMAGES_A_CLASS, calibrate_known
from model.leo import LatentEmbeddingOptimization

DRAWING_SETTINGS = (
    *(Setting(way, (shot, shot), 15) for way in (5, 20) for shot in (1, 5)),
    *(Setting(20, (shot, shot), 15, "alphabet") for shot in (1, 5)),
)
LEFT_OUT_SHOTS = (1, 5)
PHOTO_SETTINGS = (Setting(5, (1, 1), 10), Setting(5, (5, 5), 10))
SMALL_SETTINGS = (Setting(2, (1, 1), 5), Setting(2, (5, 5), 5))  # for sources of fewer than ten classes
TRAINED_ON = ("hand_digits", "grocery", "caltech101")  # of which the model has not seen the validation classes
PHOTOS_A_CLASS = 20  # of other sources
SCORES = ("known", "mean_cosine", "head_cosine", "probability")


def measure(
    leo: LatentEmbeddingOptimization, extracted: ExtractedFeatures, setting: Setting, tasks: int
) -> dict[str, Any]:
    """Measure one kind of task."""
    found = diagnose(LeoMethod(leo), extracted, setting, tasks)
    row: dict[str, Any] = {"way": setting.way, "shot": setting.shots[0], "within": setting.within, "tasks": tasks}
    for name in SCORES:
        row[name] = {"auroc": found.aurocs[name][0], "foreign_accepted": found.foreign_accepted[name]}
    if found.rejected is not None:
        row["at_default"] = {"own_rejected": found.rejected[0], "foreign_accepted": 1 - found.rejected[1]}
    print(row, flush=True)
    return row


def select(extracted: ExtractedFeatures, kept: Tensor) -> ExtractedFeatures:
    """Some classes of a data set: those for which `kept` [C] is true."""
    return ExtractedFeatures(extracted.features[kept], extracted.counts[kept], extracted.groups[kept])


def leave_one_alphabet_out(
    leo: LatentEmbeddingOptimization, training: ExtractedFeatures, validation: ExtractedFeatures, tasks: int
) -> list[dict[str, Any]]:
    """Fit the distribution of scores on all alphabets but one, and measure on tasks of that one."""
    shipped, rows = leo.background, []
    for alphabet in validation.groups.unique():
        others, own = (
            select(validation, kept) for kept in (validation.groups != alphabet, validation.groups == alphabet)
        )
        leo.background = calibrate_known(leo, [training], [others], shots=LEFT_OUT_SHOTS)
        rows += [measure(leo, own, Setting(5, (k, k), 15), tasks) | {"alphabet": int(alphabet)} for k in LEFT_OUT_SHOTS]
    leo.background = shipped
    return rows


def of_drawings(data: Path, tasks: int) -> dict[str, Any]:
    """Measure the default model."""
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    drawings = load_drawings(data)
    validation = extract_leo_features(leo, drawings.split("validation"))
    training = extract_leo_features(leo, drawings.split("train").first(IMAGES_A_CLASS))
    return {
        "rows": [measure(leo, validation, setting, tasks) for setting in DRAWING_SETTINGS],
        "one_alphabet_left_out": leave_one_alphabet_out(leo, training, validation, tasks // 4),
    }


def of_photos(data: list[Path], tasks: int) -> dict[str, Any]:
    """Measure the model for photos, on validation classes of what it was trained on and on all of other sources."""
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "photos-lite0")
    rows = {}
    for path in data:
        photos = load_photos(path)
        photos = photos.split("validation") if path.stem in TRAINED_ON else photos.first(PHOTOS_A_CLASS)
        if len(photos) < 4:  # then no two are foreign to a task of two
            continue
        extracted = extract_leo_features(leo, photos)
        settings = PHOTO_SETTINGS if len(photos) >= 10 else SMALL_SETTINGS
        rows[path.name] = [measure(leo, extracted, setting, tasks) for setting in settings]
    return rows


def main() -> None:
    """Measure, and write bench/results/known.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawings", type=Path)
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--tasks", type=int, default=1000)
    given = parser.parse_args()
    if given.drawings:
        write_section("known", "drawings", of_drawings(given.drawings, given.tasks))
    if given.photos:
        write_section("known", "photos", of_photos(given.photos, given.tasks))


if __name__ == "__main__":
    main()
