"""What photos-lite0 makes of questions in photos as users take them: off-centre, half hidden, dark, blurred, tiny.

The examples are photos as they are, on validation classes; the queries of the same tasks are distorted in one way after
the other. Features are those of phi as it is served.

    python -m bench.photos_distorted --photos grocery.zip --photos caltech101.zip      # some minutes on one core
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from bench.common import WEIGHTS, read_results, write_results
from bench.intervals import as_row, with_ci95
from bench.photos_held_out import PHOTOS_A_CLASS
from bench.tables import header
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.episodes import Episodes
from model.data.photos import Photos, decode_photo, load_photos
from model.evaluation.accuracy import Setting, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import fastest_phi

MODEL = "photos-lite0"
SIDE = 448  # of the photo that is distorted
SETTINGS = (Setting(5, (1, 1), 10), Setting(5, (5, 5), 10))
GREY = (128, 128, 128)
TASKS_AT_ONCE = 50


def off_centre(photo: Image.Image) -> Image.Image:
    """The subject at three fifths of its size, in a corner."""
    ground, small = Image.new("RGB", photo.size, GREY), photo.resize((SIDE * 3 // 5, SIDE * 3 // 5))
    ground.paste(small, (SIDE - small.width, SIDE - small.height))
    return ground


def half_hidden(photo: Image.Image) -> Image.Image:
    """The right half behind something."""
    hidden = photo.copy()
    hidden.paste(GREY, (SIDE // 2, 0, SIDE, SIDE))
    return hidden


def screenshot(photo: Image.Image) -> Image.Image:
    """The photo on a page, between a bar and lines of text."""
    page, small = Image.new("RGB", photo.size, "white"), photo.resize((SIDE // 2, SIDE // 2))
    drawn = ImageDraw.Draw(page)
    drawn.rectangle((0, 0, SIDE, SIDE // 12), fill=(40, 44, 52))
    for line in range(4):
        drawn.rectangle((SIDE // 8, SIDE * (16 + line) // 20, SIDE * 7 // 8, SIDE * (16 + line) // 20 + 6), fill=GREY)
    page.paste(small, (SIDE // 4, SIDE // 6))
    return page


DISTORTIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda photo: photo,
    "off-centre and small": off_centre,
    "half hidden": half_hidden,
    "a quarter of the light": lambda photo: photo.point(lambda level: level // 4),
    "blurred, radius 8 of 448 pixels": lambda photo: photo.filter(ImageFilter.GaussianBlur(8)),
    "tiny, 32 pixels": lambda photo: photo.resize((32, 32)).resize((SIDE, SIDE)),
    "turned by 90 degrees": lambda photo: photo.transpose(Image.Transpose.ROTATE_90),
    "in a screenshot": screenshot,
}


def features_of(leo: LatentEmbeddingOptimization, photos: Photos) -> dict[str, ExtractedFeatures]:
    """The features of all photos, distorted in each way, in the views of a support: [C,D,V,F]."""
    side, views = leo.config.resolution, leo.views
    phi = fastest_phi(leo.classifier.phi, side, torch.device("cpu"))
    shape = (len(photos), int(photos.counts.max()), *leo.config.example_shape)
    found = {name: torch.zeros(shape) for name in DISTORTIONS}
    for label, files in enumerate(photos.files):
        wholes = [Image.fromarray(decode_photo(file, SIDE)) for file in files]
        for name, distort in DISTORTIONS.items():
            seen = np.stack([np.asarray(distort(w).resize((side, side), Image.Resampling.BICUBIC)) for w in wholes])
            of_copies = phi(views.of_bytes(torch.from_numpy(seen)).numpy())
            found[name][label, : len(files)] = views.join(phi(seen), of_copies)
    groups = torch.arange(len(photos))
    return {name: ExtractedFeatures(features, photos.counts, groups) for name, features in found.items()}


@torch.no_grad()
def right(method: LeoMethod, examples: Tensor, queries: Tensor, tasks: Episodes) -> Tensor:
    """The share of right answers in each task, [T]; examples and queries are of features of their own."""
    shares = []
    for at in range(0, len(tasks), TASKS_AT_ONCE):
        some = tasks[at : at + TASKS_AT_ONCE]
        support, labels, _, of_queries = some.gather(examples)
        state = method.adapt(support, one_hot(labels, some.classes.shape[1]))
        answers = method.logits(state, some.gather(queries)[2]).argmax(dim=-1)
        shares.append((answers == of_queries).double().mean(dim=1))
    return torch.cat(shares)


def table() -> list[str]:
    """The results as a table for docs/photos.md."""
    found = read_results("photos_distorted")
    sources = found["sources"]
    kinds = [
        f"{source['source'].removesuffix('.zip')}, {row['shot']}-shot" for source in sources for row in _of(source)
    ]
    lines = header("queries, 5 ways, %", kinds)
    for name in DISTORTIONS:
        cells = [_cell(row) for source in sources for row in source["rows"] if row["queries"] == name]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['episodes']} tasks each, validation classes; in brackets the difference to queries as they are, on "
        f"the same tasks, 95 % interval. Examples are photos as they are ({found['date']}, version "
        f"{found['model_version']}: `python -m bench.photos_distorted`).",
    ]


def _of(source: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of photos as they are."""
    return [row for row in source["rows"] if row["queries"] == next(iter(DISTORTIONS))]


def _cell(row: dict[str, Any]) -> str:
    lost = row["difference"]
    apart = f" ({100 * lost['mean']:+.2f} ± {100 * lost['ci95']:.2f})" if lost["ci95"] else ""
    return f"{100 * row['accuracy']['mean']:.2f}{apart}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, action="append", required=True, help="what it was trained on")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / MODEL)
    method, sources = LeoMethod(leo), []
    for path in given.photos:
        features, rows = features_of(leo, load_photos(path).split("validation").first(PHOTOS_A_CLASS)), []
        plain = next(iter(features.values()))
        for setting in SETTINGS:
            tasks, first = sample_tasks(plain, setting, given.episodes), None
            for name, distorted in features.items():
                shares = right(method, plain.features, distorted.features, tasks)
                first = shares if first is None else first
                rows.append(
                    {"queries": name, **as_row(setting), **with_ci95(accuracy=shares, difference=shares - first)}
                )
                print(path.name, rows[-1], flush=True)
        sources.append({"source": path.name, "rows": rows})
    write_results(
        "photos_distorted",
        "queries in distorted photos, the examples as they are, on validation classes",
        model=MODEL,
        model_version=read_info(WEIGHTS / MODEL).version,
        episodes=given.episodes,
        sources=sources,
    )


if __name__ == "__main__":
    main()
