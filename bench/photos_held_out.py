"""Models of photos on a source that they were not trained on: accuracy by backbone, beside other heads, and time.

    python -m bench.photos_held_out --data a.zip --data b.zip efficientnet-lite0 efficientnet-lite0+clip-vit-b16

For each backbone and each source LEO's parts are set from the classes of the other sources, as `leo train` does before
its few steps. Users bring sources that nobody trained on, so these are the figures that matter. All backbones answer
the same tasks. Writes bench/results/photos_held_out.json after each source, and in the end docs/photos-held-out.png:
accuracy against milliseconds. Half a minute for each backbone and source once features are cached; `--processes` takes
several at a time, and `--resume` keeps what an interrupted run has measured.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from bench.common import ROOT, read_results, replace_results, write_results
from bench.encoded_leo import EncodedExtractor, EncodedLeo
from model.backbones import find
from model.baselines.method import Method
from model.baselines.registry import photo_methods
from model.data.photo_features import backbone_features
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting
from model.evaluation.compare import Comparison
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.phi import OnnxPhi, sample_photos
from model.training.config import PhotoTrainConfig
from model.training.photos import set_from_classes, set_part_weights
from model.training.presets import photo_model

RESULTS, PICTURE = "photos_held_out", ROOT / "docs" / "photos-held-out.png"
SHOTS, QUERY = (1, 5, 10), 10
TIMED_CALLS = 10
SLOW = 30.0  # milliseconds from which a label stands on the left of its point
#: The others of the cards are no better: nearest neighbour, and the logistic head on centred features.
BASELINES = ("cosine prototypes", "cosine prototypes, centred", "logistic head")
L2 = 1e-4  # of the logistic head; that of the card of photos-lite0
PHOTOS_A_CLASS = 20  # that are used, of all sources: CLIP takes minutes for a thousand
WHAT = (
    "Models of photos on a source that was left out when LEO's parts were set from the other sources' classes; "
    "difference: to LEO with its steps, on the same tasks"
)


def set_up(backbone: str, training: list[Photos], latent_dim: int | None = None) -> LatentEmbeddingOptimization:
    """LEO's parts from the classes of some sources; `latent_dim` is the preset's by default."""
    model = photo_model(backbone)
    config = PhotoTrainConfig(leo=model.model_copy(update={"latent_dim": latent_dim or model.latent_dim}))
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
    encoded = EncodedExtractor(leo)
    others = [each for each in photo_methods(leo, L2) if each.name in BASELINES]
    return [EncodedLeo(leo, leo.config.inner_steps, encoded), EncodedLeo(leo, 0, encoded), *others]


def measured(leo: LatentEmbeddingOptimization, photos: Photos, episodes: int) -> list[dict[str, Any]]:
    """Every method's accuracy on the same tasks."""
    comparison, rows = Comparison(methods_on(leo), photos, leo.config.resolution, torch.device("cpu")), []
    for setting in settings_of(photos):
        figures = {row.method: row.figures() for row in comparison.run(setting, episodes, repeats=None)}
        for each in figures.values():
            del each["method"]
        rows.append({"way": setting.way, "shot": setting.shots[0], "methods": figures})
        print(photos.source_name, rows[-1], flush=True)
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


def leave_out(backbone: str, paths: list[Path], held_out: Path, episodes: int) -> dict[str, Any]:
    """Measure on one source what the others set, on one thread."""
    torch.set_num_threads(1)
    photos = {path: load_photos(path).first(PHOTOS_A_CLASS) for path in paths}
    leo = set_up(backbone, [photos[path] for path in paths if path != held_out])
    rows = measured(leo, photos[held_out], episodes)
    return {"source": held_out.name, "classes": len(photos[held_out]), "rows": rows}


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a source; give at least two")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1, help="sources that are measured at a time")
    parser.add_argument("--resume", action="store_true", help="keep the sources that were measured before")
    parser.add_argument("--times", action="store_true", help="measure only the times anew, of the results there are")
    parser.add_argument("backbones", nargs="*")
    given = parser.parse_args()
    models = {model["backbone"]: model for model in read_results(RESULTS).get("models", [])}
    for backbone in given.backbones:
        if not (given.resume and backbone in models):
            models[backbone] = {"backbone": backbone, "ms_an_image": None, "sources": []}
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        left_out = {
            pool.submit(leave_out, backbone, given.data, path, given.episodes): backbone
            for backbone in given.backbones
            for path in given.data
            if path.name not in [source["source"] for source in models[backbone]["sources"]]
        }
        for each in as_completed(left_out):
            of_model = models[left_out[each]]["sources"]
            of_model.append(each.result())
            of_model.sort(key=lambda source: [path.name for path in given.data].index(source["source"]))
            write_results(RESULTS, WHAT, episodes=given.episodes, models=list(models.values()))
    for model in models.values():
        if given.times or model["ms_an_image"] is None:
            model["ms_an_image"] = milliseconds(model["backbone"])
    replace_results(RESULTS, read_results(RESULTS) | {"models": list(models.values())})
    draw(read_results(RESULTS), PICTURE)


if __name__ == "__main__":
    main()
