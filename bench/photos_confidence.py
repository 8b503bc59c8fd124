"""How far probabilities of photos are off on a source that nothing was trained on, with codes drawn together or not.

    python -m bench.photos_confidence --data a.zip --data b.zip --data c.zip efficientnet-lite0

For each source LEO's parts are set from the training classes of the others, and the temperature is fitted on their
validation classes, as `leo train` does. Writes bench/results/photos_confidence.json after each source; a minute for
each, once features are cached.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from bench.common import read_results, write_results
from bench.encoded_leo import EncodedExtractor, EncodedLeo
from bench.photos_held_out import PHOTOS_A_CLASS, QUERY, SHOTS, set_up
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting, classify_tasks, feasible_settings, sample_tasks
from model.evaluation.calibration import fit_sharpness
from model.evaluation.extracted_features import ExtractedFeatures, extract
from model.leo import LatentEmbeddingOptimization
from model.training.photo_validation import PHOTO_CALIBRATION_SETTINGS

RESULTS = "photos_confidence"
FITTED_ON, SEED = 100, 1  # tasks of each kind, other ones than are measured


def measured(backbone: str, held_out: Photos, others: list[Photos], episodes: int) -> list[dict[str, Any]]:
    """The expected calibration errors on a source, with one temperature for all tasks and with codes drawn together."""
    leo = set_up(backbone, [photos.split("train") for photos in others])
    extractor, resolution = EncodedExtractor(leo), leo.config.resolution

    def encoded(photos: Photos) -> ExtractedFeatures:
        return extract(extractor, photos, resolution, torch.device("cpu"))

    own, validation = encoded(held_out), [encoded(photos.split("validation")) for photos in others]
    rows: list[dict[str, Any]] = [{"shot": shot} for shot in SHOTS]
    for name, unrelated in (("ece_plain", None), ("ece", leo.config.unrelated_cosine)):
        leo.config = leo.config.model_copy(update={"unrelated_cosine": unrelated})
        method = EncodedLeo(leo, leo.config.inner_steps, extractor)
        calibrate(leo, method, validation)
        for row in rows:
            setting = Setting(5, (row["shot"], row["shot"]), QUERY)
            parts = list(classify_tasks(method, own, sample_tasks(own, setting, episodes)))
            row[name] = method.expected_calibration_error(parts)
    return rows


def calibrate(leo: LatentEmbeddingOptimization, method: EncodedLeo, validation: list[ExtractedFeatures]) -> None:
    """Fit a LEO's temperature, as `model.evaluation.calibration.calibrate` does, on encoded photos."""
    found, shots = [], []
    for extracted in validation:
        for setting in feasible_settings(extracted, PHOTO_CALIBRATION_SETTINGS):
            parts = list(classify_tasks(method, extracted, sample_tasks(extracted, setting, FITTED_ON, SEED)))
            logits = torch.cat([part.logits.flatten(0, 1) for part in parts])
            found.append((logits, torch.cat([part.labels.flatten() for part in parts])))
            shots.append(sum(setting.shots) / 2)
    fitted = zip(("temperature", "shot_sharpness", "way_sharpness"), fit_sharpness(found, shots), strict=True)
    leo.config = leo.config.model_copy(update=dict(fitted))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a source; give at least two")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("backbones", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sources = [load_photos(path).first(PHOTOS_A_CLASS) for path in given.data]
    models = {model["backbone"]: model for model in read_results(RESULTS).get("models", [])}
    for backbone in given.backbones:
        models[backbone] = {"backbone": backbone, "episodes": given.episodes, "sources": []}
        for held_out in sources:
            rows = measured(backbone, held_out, [each for each in sources if each is not held_out], given.episodes)
            models[backbone]["sources"].append({"source": held_out.source_name, "rows": rows})
            print(backbone, models[backbone]["sources"][-1], flush=True)
            write_results(
                RESULTS,
                "Expected calibration errors of 5-way tasks on a source left out: with codes as the inner loop leaves "
                "them (ece_plain), and drawn together by how alike the classes look (ece)",
                models=list(models.values()),
            )


if __name__ == "__main__":
    main()
