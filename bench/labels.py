"""How often a planted wrong label is found: `python -m bench.labels DATA` writes bench/results/labels.json."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.common import DRAWING_MODELS, WEIGHTS, write_results
from model.baselines.extractors import extractor_of
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.omniglot import load_drawings
from model.evaluation.extracted_features import extract
from model.evaluation.support_report import report_on_support
from model.leo import LatentEmbeddingOptimization

WAY, SHOT = 5, 5


@dataclass(frozen=True)
class Found:
    """Counts over tasks with one wrong label each, and as many clean ones."""

    tasks: int
    top: int  # the wrong label was the first suspect
    named: int  # it was a suspect at all
    suspects_in_clean_tasks: int


def planted(features: NDArray[np.float32], tasks: int, seed: int = 0) -> Found:
    """Draw 5-way 5-shot tasks from features [C,D,F], and give one example of each another class's label."""
    rng = np.random.default_rng(seed)
    top = named = clean = 0
    for _ in range(tasks):
        classes = rng.choice(len(features), WAY, replace=False)
        chosen = [features[c][rng.choice(features.shape[1], SHOT, replace=False)] for c in classes]
        support = np.concatenate(chosen)  # [N*K, F]
        labels = np.repeat(np.arange(WAY), SHOT)
        clean += len(report_on_support(support, labels).suspects)
        wrong = int(rng.integers(len(labels)))
        labels[wrong] = (labels[wrong] + rng.integers(1, WAY)) % WAY
        suspects = [suspect.index for suspect in report_on_support(support, labels).suspects]
        named += wrong in suspects
        top += suspects[:1] == [wrong]
    return Found(tasks, top, named, clean)


def main() -> None:
    """Plant wrong labels for both models for drawings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--tasks", type=int, default=200)
    given = parser.parse_args()
    drawings = load_drawings(given.data).split("validation")
    models = {}
    for name in DRAWING_MODELS:
        leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / name)
        extracted = extract(extractor_of(leo), drawings, leo.config.resolution, leo.alpha.device)
        features = LeoMethod(leo).support_features(extracted.features).numpy()
        models[name] = {"version": read_info(WEIGHTS / name).version, **asdict(planted(features, given.tasks))}
        print(name, models[name])
    what = f"wrong labels found in {WAY}-way {SHOT}-shot tasks of validation alphabets, one planted in each"
    write_results("labels", what, data=given.data.name, split="validation", way=WAY, shot=SHOT, seed=0, models=models)


if __name__ == "__main__":
    main()
