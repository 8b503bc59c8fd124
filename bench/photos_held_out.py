"""Models of photos on a source that they were not trained on: accuracy by backbone, beside other heads, and time.

    python -m bench.photos_held_out --data a.zip --data b.zip efficientnet-lite0 efficientnet-lite0+clip-vit-b16

For each backbone and each source a LEO is trained on the other sources, as `leo train` does it. Users bring sources
that nobody trained on, so these are the figures that matter. All backbones answer the same tasks. Writes
bench/results/photos_held_out.json, and docs/photos-held-out.png: accuracy against milliseconds.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.common import ROOT, read_results, replace_results, write_results
from model.baselines.extractors import BackboneExtractor
from model.baselines.leo import LeoMethod
from model.baselines.method import Method
from model.baselines.registry import photo_methods
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting
from model.evaluation.calibration import calibrate
from model.evaluation.compare import Comparison
from model.evaluation.diagnostics import diagnose
from model.evaluation.known import calibrate_on
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.phi import OnnxPhi, sample_photos
from model.training.photo_validation import PHOTO_CALIBRATION_SETTINGS
from model.training.photos import PhotoTrainer
from model.training.presets import photo_model, photo_run

RESULTS, PICTURE = "photos_held_out", ROOT / "docs" / "photos-held-out.png"
SHOTS, QUERY = (1, 5, 10), 10
TIMED_CALLS = 10
SLOW = 30.0  # milliseconds from which a label stands on the left of its point
L2 = 1e-4  # of the logistic head; that of the card of photos-lite0
PHOTOS_A_CLASS = 20  # that are used, of all sources: CLIP takes minutes for a thousand


def trained(backbone: str, paths: list[Path]) -> LatentEmbeddingOptimization:
    """A LEO trained and calibrated on some sources."""
    photos = load_photos(*paths).first(PHOTOS_A_CLASS)
    with tempfile.TemporaryDirectory() as folder:
        parts = photos.split("train"), photos.split("validation")
        trainer = PhotoTrainer(photo_run(backbone), *parts, Path(folder), torch.device("cpu"))
        for _ in trainer.run():
            pass
    leo = trainer.leo
    fitted = calibrate(leo, trainer.validation_features, PHOTO_CALIBRATION_SETTINGS)
    leo.config = leo.config.model_copy(update=fitted)
    leo.background = calibrate_on(leo, photos)
    return leo


def methods_on(leo: LatentEmbeddingOptimization) -> list[Method]:
    """LEO with its steps and without, and what people use instead on the backbone's features."""
    methods = photo_methods(leo, L2)
    return [each for each in methods if each.name.startswith("LEO ") or type(each.extractor) is BackboneExtractor]


def measured(leo: LatentEmbeddingOptimization, photos: Photos, episodes: int) -> list[dict[str, Any]]:
    """Every method's accuracy on the same tasks, and how far LEO's answers can be trusted."""
    comparison = Comparison(methods_on(leo), photos, leo.config.resolution, torch.device("cpu"))
    extracted, rows = comparison.extracted[0], []
    for setting in settings_of(photos):
        figures = {row.method: row.figures() for row in comparison.run(setting, episodes, repeats=None)}
        for each in figures.values():
            del each["method"]
        found = diagnose(LeoMethod(leo), extracted, setting, episodes)
        rows.append(
            {
                "way": setting.way,
                "shot": setting.shots[0],
                "methods": figures,
                "ece": found.row.ece,
                "known": {
                    name: {"auroc": found.aurocs[name][0], "foreign_accepted": found.foreign_accepted[name]}
                    for name in ("known", "mean_cosine")
                    if name in found.aurocs
                },
            }
        )
    return rows


def settings_of(photos: Photos) -> list[Setting]:
    """5-way tasks, or fewer ways and queries where the source is small."""
    way = min(5, len(photos))
    most = int(photos.counts.sort(descending=True).values[way - 1])
    return [Setting(way, (shot, shot), min(QUERY, most - shot)) for shot in SHOTS if shot < most]


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
    parser.add_argument("--data", type=Path, action="append", default=[], help="a source; give at least two")
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
        models = [each for each in read_results(RESULTS).get("models", []) if each["backbone"] not in given.backbones]
        for backbone in given.backbones:
            by_source = []
            for path in given.data:
                leo = trained(backbone, [each for each in given.data if each != path])
                held_out = load_photos(path).first(PHOTOS_A_CLASS)
                rows = measured(leo, held_out, given.episodes)
                by_source.append({"source": path.name, "classes": len(held_out), "rows": rows})
                print(backbone, path.name, rows, flush=True)
            models.append({"backbone": backbone, "ms_an_image": milliseconds(backbone), "sources": by_source})
            write_results(
                RESULTS,
                "Models of photos on a source that was left out of LEO's training on the others; difference: to LEO "
                "with its steps, on the same tasks; known: how well pictures of five other classes are found out",
                episodes=given.episodes,
                models=models,
            )
    draw(read_results(RESULTS), PICTURE)


if __name__ == "__main__":
    main()
