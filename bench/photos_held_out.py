"""Models of photos on a source that they were not trained on: accuracy by backbone, beside other heads, and time.

    python -m bench.photos_held_out --data a.zip --data b.zip efficientnet-lite0 efficientnet-lite0+clip-vit-b16

For each backbone and each source LEO's parts are set from the classes of the other sources, as `leo train` does before
its steps. Users bring sources that nobody trained on, so these are the figures that matter. All backbones answer the
same tasks. Writes bench/results/photos_held_out.json, and docs/photos-held-out.png: accuracy against milliseconds.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from bench.common import ROOT, read_results, replace_results, write_results
from model.backbones import find
from model.baselines.extractors import BackboneExtractor, LeoExtractor
from model.baselines.leo import LeoMethod
from model.baselines.logistic import LogisticHead
from model.baselines.method import Method
from model.baselines.nearest_neighbour import NearestNeighbour
from model.baselines.prototypes import CosinePrototypes
from model.data.photo_features import backbone_features
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting, accuracy_per_task, feasible_settings, mean_and_ci95, sample_tasks
from model.evaluation.extracted_features import extract
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.phi import OnnxPhi, sample_photos
from model.training.config import PhotoTrainConfig
from model.training.photos import set_from_classes, set_part_weights
from model.training.presets import photo_model

RESULTS, PICTURE = "photos_held_out", ROOT / "docs" / "photos-held-out.png"
SETTINGS = tuple(Setting(5, (shot, shot), 10) for shot in (1, 5, 10))
TIMED_CALLS = 10
SLOW = 30.0  # milliseconds from which a label stands on the left of its point
L2 = 1e-4  # of the logistic head; those of the shipped cards


def set_up(backbone: str, training: list[Photos]) -> LatentEmbeddingOptimization:
    """LEO's parts from the classes of some sources."""
    config = PhotoTrainConfig(leo=photo_model(backbone))
    torch.manual_seed(config.seed)
    leo = LatentEmbeddingOptimization(config=config.leo)
    found = [backbone_features(photos, find(backbone))[:, :, 0] for photos in training]  # of [C, D, W]
    most = max(features.shape[1] for features in found)
    raw = torch.cat([torch.nn.functional.pad(each, (0, 0, 0, most - each.shape[1])) for each in found])
    counts = torch.cat([photos.counts for photos in training])
    if find(backbone).joined:
        set_part_weights(leo, raw, counts, torch.Generator().manual_seed(config.seed))
    set_from_classes(leo, raw, counts, config.shrinkage, config.centring)
    return leo.eval()


def methods_on(leo: LatentEmbeddingOptimization) -> list[Method]:
    """LEO with its steps and without, and what people use instead on the backbone's features."""
    extractor, plain = LeoExtractor(leo), BackboneExtractor(leo)
    return [
        LeoMethod(leo, extractor=extractor),
        LeoMethod(leo, 0, extractor=extractor),
        CosinePrototypes(plain),
        NearestNeighbour(plain),
        LogisticHead(plain, L2),
    ]


def measured(leo: LatentEmbeddingOptimization, photos: Photos, episodes: int) -> list[dict[str, Any]]:
    """Every method's accuracy on the same tasks, and its difference to LEO's."""
    rows = []
    methods = methods_on(leo)
    extracted = {
        each: extract(each, photos, leo.config.resolution, leo.alpha.device) for each in (m.extractor for m in methods)
    }
    for setting in feasible_settings(extracted[methods[0].extractor], SETTINGS):
        tasks = sample_tasks(extracted[methods[0].extractor], setting, episodes, 0)
        figures: dict[str, Any] = {}
        reference = None
        for method in methods:
            right = accuracy_per_task(method, extracted[method.extractor], tasks)
            reference = right if reference is None else reference
            accuracy, ci95 = mean_and_ci95(right)
            difference, difference_ci95 = mean_and_ci95(right - reference)
            figures[method.name] = {
                "accuracy": accuracy,
                "ci95": ci95,
                "difference": difference,
                "difference_ci95": difference_ci95,
            }
        rows.append({"way": setting.way, "shot": setting.shots[0], "methods": figures})
    return rows


def milliseconds(backbone: str) -> float:
    """The least processor time of phi for one image, as it is served, on one thread: other load lengthens it little."""
    config = photo_model(backbone)
    phi = OnnxPhi(FeatureExtractor(config).eval(), config.resolution)
    run, image = phi.on_threads(1), sample_photos(1, config.resolution)
    took = []
    for _ in range(TIMED_CALLS):
        began = time.process_time()
        run(image)
        took.append(1000 * (time.process_time() - began))
    return round(min(took), 2)


def mean_accuracy(model: dict[str, Any], shot: int) -> float:
    """LEO's accuracy with its steps, averaged over the sources that were left out."""
    rows = [row for source in model["sources"] for row in source["rows"] if row["shot"] == shot]
    return sum(next(iter(row["methods"].values()))["accuracy"] for row in rows) / len(rows)


def draw(results: dict[str, Any], picture: Path) -> None:
    """Draw accuracy against milliseconds, a point for each backbone and number of shots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for shot, marker in ((1, "o"), (5, "s")):
        models = sorted(results["models"], key=lambda model: model["ms_an_image"])
        times, shares = [m["ms_an_image"] for m in models], [100 * mean_accuracy(m, shot) for m in models]
        axes.plot(times, shares, marker, label=f"{shot} shot{'s' * (shot > 1)} a class")
        for model, x, y in zip(models, times, shares, strict=True):
            place = {"xytext": (6, -11)} if x < SLOW else {"xytext": (-6, -11), "ha": "right"}  # within the frame
            axes.annotate(model["backbone"], (x, y), textcoords="offset points", fontsize=7, **place)
    axes.set_xscale("log")
    axes.margins(x=0.35, y=0.12)
    axes.set_xlabel("milliseconds of a core an image")
    axes.set_ylabel("5-way accuracy on a source left out, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="a source; give at least two")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--times", action="store_true", help="measure only the times anew, of the results there are")
    parser.add_argument("backbones", nargs="*")
    given = parser.parse_args()
    if given.times:
        results = read_results(RESULTS)
        for model in results["models"]:
            model["ms_an_image"] = milliseconds(model["backbone"])
        replace_results(RESULTS, results)
    else:
        sources = [load_photos(path) for path in given.data]
        models = []
        for backbone in given.backbones:
            by_source = []
            for held_out in sources:
                leo = set_up(backbone, [each for each in sources if each is not held_out])
                rows = measured(leo, held_out, given.episodes)
                by_source.append({"source": held_out.source_name, "classes": len(held_out), "rows": rows})
                print(backbone, held_out.source_name, rows, flush=True)
            models.append({"backbone": backbone, "ms_an_image": milliseconds(backbone), "sources": by_source})
            write_results(
                RESULTS,
                "Models of photos on a source that was left out when LEO's parts were set from the other sources' "
                "classes; difference: to LEO with its steps, on the same tasks",
                episodes=given.episodes,
                models=models,
            )
    draw(read_results(RESULTS), PICTURE)


if __name__ == "__main__":
    main()
