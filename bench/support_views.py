"""What it is worth to see each support drawing in several views, and to temper the inner loop, and what that costs.

Every row has the shipped weights. Only `support_views` and `inner_temperature` differ. All answer the same tasks from
the validation alphabets; differences are paired with the first row's. The time is that of the engine for a 5-way 1-shot
task, of all rows in turn.

    python -m bench.support_views --data .../images_background.zip        # a quarter of an hour on one core
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.inference.engine import Engine
from app.inference.work import Adapt
from bench.common import WEIGHTS, write_validation_results
from bench.intervals import as_row, in_percent, with_ci95
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info, save_model
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting, accuracy_per_task, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import sample_drawings

CHOICES = ((1, 1.0), (1, 2.33), (3, 2.33), (5, 1.0), (5, 2.33), (5, 5.0), (9, 2.33))  # views, temperature
SETTINGS = (
    Setting(5, (1, 1), 10),
    Setting(20, (1, 1), 10),
    Setting(20, (5, 5), 10),
    Setting(20, (1, 1), 10, "alphabet"),
    Setting(20, (5, 5), 10, "alphabet"),
)
ROUNDS = 100


def changed(leo: LatentEmbeddingOptimization, views: int, temperature: float) -> LatentEmbeddingOptimization:
    """The same weights with other settings."""
    config = leo.config.model_copy(update={"support_views": views, "inner_temperature": temperature})
    other = LatentEmbeddingOptimization(config=config)
    other.load_state_dict(leo.state_dict())
    return other.eval()


def milliseconds(models: list[LatentEmbeddingOptimization]) -> list[float]:
    """Median time of each model's engine for a 5-way 1-shot task, all in turn."""
    work = Adapt(sample_drawings(5, models[0].config.resolution), np.arange(5))
    engines = []
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate(models):
            save_model(model, Path(folder) / str(number), str(number))
            engines.append(Engine(Path(folder) / str(number), "cpu"))
    took: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for engine, times in zip(engines, took, strict=True):
            began = time.perf_counter()
            engine.run([work])
            times.append(1000 * (time.perf_counter() - began))
    return [round(statistics.median(times), 3) for times in took]


def measured(
    method: LeoMethod, extracted: ExtractedFeatures, episodes: int
) -> Iterator[tuple[Setting, Tensor, Tensor]]:
    """Accuracy of each task with and without inner steps, for each setting."""
    for setting in SETTINGS:
        tasks = sample_tasks(extracted, setting, episodes)
        yield (
            setting,
            accuracy_per_task(method, extracted, tasks),
            accuracy_per_task(LeoMethod(method.leo, 0, method.extractor), extracted, tasks),
        )


def main() -> None:
    """Compare every choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    keep_freed_memory()
    shipped = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    validation = load_drawings(given.data).split("validation")
    models = [changed(shipped, *choice) for choice in CHOICES]
    extracted: dict[int, ExtractedFeatures] = {}
    first: dict[Setting, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for (views, temperature), model, took in zip(CHOICES, models, milliseconds(models), strict=True):
        if views not in extracted:
            extracted[views] = extract_leo_features(model, validation)
        for setting, right, without in measured(LeoMethod(model), extracted[views], given.episodes):
            first.setdefault(setting, right)
            figures = with_ci95(accuracy=right, against_first=right - first[setting], steps_gain=right - without)
            row = {"views": views, "inner_temperature": temperature, "milliseconds": took}
            rows.append({**row, **as_row(setting), **figures})
            print(views, temperature, took, setting, in_percent(figures), flush=True)
    version = read_info(WEIGHTS / "omniglot").version
    what = "views of the support and the inner temperature, with the same weights"
    write_validation_results("support_views", what, rows, given.episodes, model="omniglot", model_version=version)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
