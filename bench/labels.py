"""How often a planted wrong label is found: `python -m bench.labels DATA` writes bench/results/labels.json."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.baselines.method import Phi
from model.checkpoint import read_info
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import extract
from model.evaluation.card import machine, today
from model.evaluation.support_report import examine
from model.leo import LatentEmbeddingOptimization

PROJECT = Path(__file__).resolve().parent.parent
WAY, SHOT = 5, 5


@dataclass(frozen=True)
class Found:
    """Of so many tasks with one wrong label each, and as many clean ones."""

    tasks: int
    top: int  # the wrong label was the first suspect
    named: int  # it was a suspect at all
    suspects_in_clean_tasks: int


def planted(features: NDArray[np.float32], tasks: int, seed: int = 0) -> Found:
    """Features of a data set [C,D,F]: draw 5-way 5-shot tasks, give one example another class's label, look."""
    rng = np.random.default_rng(seed)
    top = named = clean = 0
    for _ in range(tasks):
        classes = rng.choice(len(features), WAY, replace=False)
        chosen = [features[c][rng.choice(features.shape[1], SHOT, replace=False)] for c in classes]
        support = np.concatenate(chosen)  # [N*K, F]
        labels = np.repeat(np.arange(WAY), SHOT)
        clean += len(examine(support, labels).suspects)
        wrong = int(rng.integers(len(labels)))
        labels[wrong] = (labels[wrong] + rng.integers(1, WAY)) % WAY
        suspects = [suspect.index for suspect in examine(support, labels).suspects]
        named += wrong in suspects
        top += suspects[:1] == [wrong]
    return Found(tasks, top, named, clean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--tasks", type=int, default=200)
    given = parser.parse_args()
    drawings = load_drawings(given.data).split("validation")
    result: dict[str, object] = {
        "data": given.data.name,
        "split": "validation",
        "way": WAY,
        "shot": SHOT,
        "seed": 0,
        "date": today(),
        "machine": machine(),
        "models": {},
    }
    models: dict[str, object] = {}
    for name in ("omniglot", "omniglot-105"):
        leo = LatentEmbeddingOptimization.from_pretrained(PROJECT / "weights" / name)
        found = planted(
            extract(Phi(leo), drawings, leo.config.resolution, leo.alpha.device).features.numpy(), given.tasks
        )
        models[name] = {"version": read_info(PROJECT / "weights" / name).version, **asdict(found)}
        print(
            f"{name}: the wrong label was the top suspect in {found.top} of {found.tasks} tasks, a suspect in "
            f"{found.named}; {found.suspects_in_clean_tasks} suspects in {found.tasks} clean tasks"
        )
    out = PROJECT / "bench" / "results" / "labels.json"
    out.write_text(json.dumps(result | {"models": models}, indent=2) + "\n")


if __name__ == "__main__":
    main()
