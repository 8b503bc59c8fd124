"""The backbone in bytes against float32: accuracy of the shipped model for photos on the same tasks, and time.

Writes bench/results/photos_bytes.json. Takes about five minutes.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from bench.latency import RESULTS
from model.baselines.latent import Leo
from model.checkpoint import read_info
from model.data.photos import Photos, decoded, load_photos
from model.evaluation.accuracy import (
    ExtractedFeatures,
    Setting,
    accuracies,
    feasible_settings,
    mean_and_ci95,
    sample_tasks,
)
from model.evaluation.card import machine, today
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import OnnxPhi

WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "photos-lite0"
SETTINGS = tuple(Setting(way, (shot, shot), 15) for way in (5, 15) for shot in (1, 5, 10))


def seen(phi: OnnxPhi, photos: Photos, side: int) -> tuple[ExtractedFeatures, float]:
    """Every photo through phi, and the milliseconds an image that phi took."""
    features = torch.zeros(len(photos), int(photos.counts.max()), 0)
    took = 0.0
    for label in range(len(photos)):
        pixels = torch.stack(
            [torch.from_numpy(decoded(one.data, one.name, side)) for one in photos.pictures(label)]
        ).numpy()
        began = time.perf_counter()
        found = phi(pixels)
        took += time.perf_counter() - began
        if not features.shape[-1]:
            features = torch.zeros(*features.shape[:2], found.shape[-1])
        features[label, : len(found)] = found
    return ExtractedFeatures(features, photos.counts, torch.arange(len(photos))), 1000 * took / int(photos.counts.sum())


def compared(leo: LatentEmbeddingOptimization, photos: Photos, episodes: int) -> dict[str, Any]:
    """Of one source of photos: accuracies of both forms, and the paired difference."""
    phi, side = leo.classifier.phi, leo.config.resolution
    exact, quantised = OnnxPhi(phi, side, exact=True), OnnxPhi(phi, side)
    if not quantised.quantised:
        raise SystemExit("on this processor bytes are not taken: they are no faster, or come out otherwise")
    (plain, plain_ms), (rounded, rounded_ms) = seen(exact, photos, side), seen(quantised, photos, side)
    real = torch.arange(plain.features.shape[1]) < photos.counts.unsqueeze(1)
    alike = torch.nn.functional.cosine_similarity(plain.features, rounded.features, dim=-1)[real]
    method, rows = Leo(leo), []
    for setting in feasible_settings(plain, SETTINGS):
        tasks = sample_tasks(plain, setting, episodes)
        before, after = accuracies(method, plain, tasks), accuracies(method, rounded, tasks)
        difference, ci95 = mean_and_ci95(after - before)
        rows.append(
            {
                "way": setting.way,
                "shot": setting.shots[0],
                "float32": float(before.mean()),
                "bytes": float(after.mean()),
                "difference": difference,
                "difference_ci95": ci95,
            }
        )
    return {
        "source": photos.sources[photos.files[0][0][0]].name,
        "classes": len(photos),
        "cosine": {"mean": float(alike.mean()), "least": float(alike.min())},
        "phi_ms_an_image": {"float32": round(plain_ms, 2), "bytes": round(rounded_ms, 2)},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", action="append", required=True, help="folder or zip of class folders; may be repeated"
    )
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS)
    validation = load_photos(*given.data).split("validation")
    results = {
        "what": "the shipped model for photos, its backbone in float32 and in bytes, on the same validation tasks",
        "model_version": read_info(WEIGHTS).version,
        "date": today(),
        "machine": machine(),
        "episodes": given.episodes,
        "sources": [compared(leo, part, given.episodes) for part in validation.by_source()],
    }
    target = RESULTS / "photos_bytes.json"
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
