"""The models for drawings in bytes against float32: accuracy on the same tasks of validation alphabets, and time.

Writes bench/results/bytes.json. Takes about five minutes. `bench.photos_bytes` is the same for photos.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from bench.engine.service import ROOT
from bench.latency import RESULTS
from model.baselines.latent import Leo
from model.checkpoint import read_info
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import (
    ExtractedFeatures,
    Setting,
    accuracies,
    extract_features,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.card import machine, today
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import OnnxPhi

MODELS = ("omniglot", "omniglot-105")
SETTINGS = tuple(
    Setting(way, (shot, shot), 10, within)
    for way, within in ((5, None), (20, None), (20, "alphabet"))
    for shot in (1, 5)
)
AT_ONCE = 64  # images


def compared(name: str, drawings: Drawings, episodes: int) -> dict[str, Any]:
    """Accuracies of both forms, and the paired difference."""
    leo = LatentEmbeddingOptimization.from_pretrained(ROOT / "weights" / name)
    side, own = leo.config.resolution, leo.encoder.features
    images = to_side(drawings.images, side)  # [C, D, R, R]
    as_trained = extract_features(leo, drawings)
    phis = [OnnxPhi(phi, side) for phi in (leo.classifier.phi, own) if phi is not None]
    exact = OnnxPhi(leo.classifier.phi, side, exact=True)
    if not all(phi.quantised for phi in phis):
        raise SystemExit(f"{name}: on this processor bytes are not taken: they are no faster, or come out otherwise")
    parts = [part.numpy() for part in images.flatten(0, 1).split(AT_ONCE)]
    rounded = torch.cat([torch.cat([phi(part) for part in parts]) for phi in phis], dim=-1)  # [C D, F or 2F]
    in_bytes = ExtractedFeatures(rounded.reshape(*images.shape[:2], -1), as_trained.counts, as_trained.groups)
    real = torch.arange(images.shape[1]) < drawings.counts.unsqueeze(1)
    alike = F.cosine_similarity(in_bytes.features, as_trained.features, dim=-1)[real]
    method, rows = Leo(leo), []
    for setting in SETTINGS:
        tasks = sample_tasks(as_trained, setting, episodes)
        before, after = accuracies(method, as_trained, tasks), accuracies(method, in_bytes, tasks)
        difference, ci95 = mean_and_ci95(after - before)
        rows.append(
            {
                "way": setting.way,
                "shot": setting.shots[0],
                "within": setting.within,
                "float32": float(before.mean()),
                "bytes": float(after.mean()),
                "difference": difference,
                "difference_ci95": ci95,
            }
        )
        print(name, rows[-1], flush=True)
    return {
        "model": name,
        "model_version": read_info(ROOT / "weights" / name).version,
        "cosine": {"mean": float(alike.mean()), "least": float(alike.min())},
        "phi_ms_an_image": {
            "float32": round(1000 * exact.seconds_an_image, 3),
            "bytes": round(1000 * phis[0].seconds_an_image, 3),
        },
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or zip in Omniglot's layout")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    validation = load_drawings(given.data).split("validation")
    results = {
        "what": "phi of the models for drawings in float32 and in bytes, on the same tasks of validation alphabets",
        "date": today(),
        "machine": machine(),
        "episodes": given.episodes,
        "models": [compared(name, validation, given.episodes) for name in MODELS],
    }
    (RESULTS / "bytes.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
