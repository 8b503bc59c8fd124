"""What it is worth that LEO sees each photo of the support in several views, on sources left out.

    python -m bench.photos_views --data a.zip --data b.zip --data c.zip      # half an hour on one core

The views are the photo as it is and those of `model.networks.photo_views`. `bench.views_loop` says what the attempts do
with them; a query is seen once. An attempt's few numbers (the size of each step, the softness of its loss) are
meta-learned on the other sources. Writes bench/results/photos_views.json.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.common import read_results, write_results
from bench.intervals import mean_in_points
from bench.photos_held_out import PHOTOS_A_CLASS, set_up
from bench.photos_steps import LEARNED_ON, QUERY, RIDGE, SHOTS, TASKS_TO_LEARN
from bench.tables import header
from bench.views_loop import MOST, rows_of
from model.backbones import find
from model.data.episodes import Episodes, fit_to_data
from model.data.photo_features import backbone_features
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures
from model.leo import LatentEmbeddingOptimization
from model.networks.photo_views import CENTRE_AREA, LEAST_AREA

RESULTS, BACKBONE = "photos_views", "efficientnet-lite0"


@torch.no_grad()
def encoded(leo: LatentEmbeddingOptimization, photos: Photos, features: Tensor) -> ExtractedFeatures:
    """The views as LEO encodes them, [C,D,1+V,L]."""
    codes = leo.encoder.to_code(leo.classifier.phi.postprocess(features))
    return ExtractedFeatures(codes, photos.counts, torch.arange(len(photos)))


def to_learn(extracted: ExtractedFeatures) -> Iterator[tuple[ExtractedFeatures, Episodes]]:
    """Tasks of a source that is not left out, in several settings."""
    for way, shot in LEARNED_ON:
        if fit_to_data(extracted.counts, way, shot, 5) == (way, shot, 5):
            yield extracted, sample_tasks(extracted, Setting(way, (shot, shot), 5), TASKS_TO_LEARN, 2)


def table() -> list[str]:
    """The results as a table for docs/photos.md: means over sources."""
    found = read_results(RESULTS)
    rows = found["rows"]
    sources = sorted({row["source"] for row in rows})
    titles = [f"{shot}-shot: gain of steps, end less the first end" for shot in SHOTS]
    lines = header("views of the support, mean over sources left out", titles)
    for name in dict.fromkeys(row["attempt"] for row in rows):
        cells = [
            ", ".join(
                mean_in_points([row[what] for row in rows if (row["attempt"], row["shot"]) == (name, shot)])
                for what in ("gain", "against_first")
            )
            for shot in SHOTS
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['episodes']} 5-way tasks of each of {len(sources)} sources, {found['backbone']}. Queries are seen "
        f"once. The first view is the photo in a mirror, the second its middle ({CENTRE_AREA:.0%} of the area), the "
        f"others are crops of {LEAST_AREA:.0%} and more ({found['date']}: `python -m bench.photos_views`).",
    ]


def main() -> None:
    """Extract, learn, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="a source; give at least two")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sources = [load_photos(path).first(PHOTOS_A_CLASS) for path in given.data]
    features = [backbone_features(photos, find(BACKBONE), 1 + MOST) for photos in sources]  # of [C, D, 1+V, W]
    rows: list[dict[str, Any]] = []
    for place, photos in enumerate(sources):
        others = [other for other in range(len(sources)) if other != place]
        leo = set_up(BACKBONE, [sources[other] for other in others])
        seen = [encoded(leo, *each) for each in zip(sources, features, strict=True)]
        tasks = [each for other in others for each in to_learn(seen[other])]
        settings = [Setting(5, (shot, shot), QUERY) for shot in SHOTS]
        found = rows_of(seen[place], tasks, settings, RIDGE, given.episodes)
        rows += ({"source": photos.source_name.removesuffix(".zip"), **row} for row in found)
    write_results(
        RESULTS,
        "LEO's inner steps on photos with several views of each support photo, on a source left out: accuracy with "
        "steps off and on, the gain of the steps, and the difference to the first attempt, on the same tasks",
        backbone=BACKBONE,
        episodes=given.episodes,
        rows=rows,
    )


if __name__ == "__main__":
    main()
