"""Feature extractors side by side: the same number of images to learn from, accuracy against milliseconds.

Each learns the training alphabets' characters from `--images` drawings (stage 1 of training), then classifies tasks
of the validation alphabets by its class means. Longer training narrows the gaps; the order is what counts.

An interrupted search goes on from `--runs` when the same command is given again.

    python -m bench.phi_search --data .../images_background.zip      # an hour on one core
"""

import argparse
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot

from bench.common import RESULTS, write_results
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.config import LEOConfig
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting, accuracy_per_task, mean_and_ci95, sample_tasks
from model.evaluation.extracted_features import extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import OnnxPhi
from model.training.config import DrawingTrainConfig
from model.training.drawings import DrawingTrainer

SHIPPED = {"resolution": 28, "widths": (32, 64, 128, 512)}
CANDIDATES: dict[str, dict[str, Any]] = {
    "28 px, 32-64-128-512": SHIPPED,
    "pooled whole": SHIPPED | {"pool_whole": True},
    "mean pooling": SHIPPED | {"pooling": "mean"},
    "GroupNorm": SHIPPED | {"normalisation": "group"},
    "no normalisation": SHIPPED | {"normalisation": "none"},
    "residual, 24-48-96-512": SHIPPED | {"widths": (24, 48, 96, 512), "residual": True},
    "32 px, 32-64-128-128": {"resolution": 32, "widths": (32, 64, 128, 128)},
    "28 px, 32-64-128": {"resolution": 28, "widths": (32, 64, 128)},
    "28 px, 48-96-192-512": {"resolution": 28, "widths": (48, 96, 192, 512)},
}
VIEWS: tuple[tuple[float, ...], ...] = ((), (-9.0, 9.0), (-12.0, 0.0, 12.0))
SETTINGS = {"5-way 1-shot": Setting(5, (1, 1), 15), "20-way 1-shot, one alphabet": Setting(20, (1, 1), 15, "alphabet")}


def milliseconds(models: list[LatentEmbeddingOptimization], rounds: int = 200) -> list[float]:
    """Median time of one image through each phi as it is served, on one thread.

    They take turns, because the machine's own speed changes by the minute.
    """
    took: list[list[float]] = [[] for _ in models]
    sides = [leo.config.resolution for leo in models]
    runs = [OnnxPhi(leo.classifier.phi, side).on_threads(1) for leo, side in zip(models, sides, strict=True)]
    images = [np.zeros((1, side, side), dtype=np.uint8) for side in sides]
    for _ in range(rounds):
        for run, image, times in zip(runs, images, took, strict=True):
            began = time.perf_counter()
            run(image)
            times.append(1000 * (time.perf_counter() - began))
    return [statistics.median(times) for times in took]


def with_views(leo: LatentEmbeddingOptimization, angles: tuple[float, ...]) -> LatentEmbeddingOptimization:
    """The same model, which averages features over views from other angles."""
    turned = LatentEmbeddingOptimization(config=leo.config.model_copy(update={"view_angles": angles}))
    turned.load_state_dict(leo.state_dict())
    return turned.to(memory_format=torch.channels_last).eval()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against milliseconds, a line for each candidate."""
    figure, axes = pyplot.subplots(1, len(SETTINGS), figsize=(14, 5), layout="constrained")
    for axis, name in zip(axes, SETTINGS, strict=True):
        for candidate in dict.fromkeys(row["phi"] for row in rows):
            mine = [row for row in rows if row["phi"] == candidate]
            axis.plot(
                [row["milliseconds"] for row in mine],
                [100 * row["accuracy"][name]["mean"] for row in mine],
                marker="o",
                label=candidate,
            )
        axis.set(title=name, xlabel="milliseconds an image, one thread", ylabel="accuracy of class means, %")
        axis.grid(alpha=0.3)
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, title="each with 1, 2 and 3 views", fontsize="small", loc="outside right upper")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Train and compare every candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--images", type=int, default=192_000, help="drawings each learns from")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/phi-search"), help="where they are trained")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    drawings = load_drawings(given.data)
    training, validation = drawings.split("train"), drawings.split("validation")
    models: list[LatentEmbeddingOptimization] = []
    rows: list[dict[str, Any]] = []
    for name, shape in CANDIDATES.items():
        steps = given.images // 128
        config = DrawingTrainConfig(
            leo=LEOConfig(decoder_skip=True, **shape), pretrain_steps=steps, episode_steps=0, validate_every=steps
        )
        folder = given.runs / re.sub(r"[^0-9a-z]+", "-", name.lower())
        trainer = DrawingTrainer(config, training, validation, folder, torch.device("cpu"))
        for _ in trainer.run():
            pass
        for angles in VIEWS:
            leo = with_views(trainer.leo, angles)
            extracted = extract_leo_features(leo, validation)
            accuracy = {}
            for label, setting in SETTINGS.items():
                right = accuracy_per_task(
                    LeoMethod(leo, 0), extracted, sample_tasks(extracted, setting, given.episodes)
                )
                accuracy[label] = dict(zip(("mean", "ci95"), mean_and_ci95(right), strict=True))
            models.append(leo)
            seconds = round(trainer.seconds, 1)
            rows.append({"phi": name, "view_angles": angles, "training_seconds": seconds, "accuracy": accuracy})
            shown = {k: f"{100 * v['mean']:.2f} ±{100 * v['ci95']:.2f}" for k, v in accuracy.items()}
            print(name, angles, shown, flush=True)
        for row, each in zip(rows, milliseconds(models), strict=True):
            row["milliseconds"] = each
        split = "validation alphabets"
        what = "feature extractors trained alike, by their class means' accuracy and milliseconds an image"
        figures = {"episodes": given.episodes, "training_images": given.images, "rows": rows}
        write_results("phi_search", what, split=split, **figures)
        plot(rows, RESULTS / "phi_search.png")


if __name__ == "__main__":
    main()
