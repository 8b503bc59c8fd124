"""phi computed in bytes against float32: accuracy of the shipped models on the same validation tasks, and time.

    python -m bench.quantised --drawings .../images_background.zip       # writes bench/results/bytes.json
    python -m bench.quantised --photos a.zip --photos b.zip              # writes bench/results/photos_bytes.json

Takes about five minutes each.
"""

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from bench.common import DRAWING_MODELS, WEIGHTS, write_results
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.omniglot import Drawings, load_drawings
from model.data.photos import Photos, decode_photo, load_photos
from model.evaluation.accuracy import Setting, accuracy_per_task, feasible_settings, mean_and_ci95, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from model.networks.bent_copies import BentCopies
from model.networks.photo_views import PhotoViews
from model.serving.phi import OnnxPhi

PHOTO_MODEL = WEIGHTS / "photos-lite0"
SETTINGS_OF_DRAWINGS = tuple(
    Setting(way, (shot, shot), 10, within)
    for way, within in ((5, None), (20, None), (20, "alphabet"))
    for shot in (1, 5)
)
SETTINGS_OF_PHOTOS = tuple(Setting(way, (shot, shot), 15) for way in (5, 15) for shot in (1, 5, 10))


def extracted(
    phis: list[OnnxPhi], pictures: Drawings | Photos, side: int, views: BentCopies | PhotoViews
) -> ExtractedFeatures:
    """Features of every picture as `LeoMethod` takes them: of all phis, and as support if it has several views."""

    def features_of(images: NDArray[np.uint8]) -> Tensor:
        parts = [phi(images) for phi in phis]
        if views.copies:
            joined = views.join(parts[0], phis[0](views.of_bytes(torch.from_numpy(images)).numpy()))
            if isinstance(pictures, Photos):
                return joined  # [D, V, F]
            parts.append(joined)
        return torch.cat(parts, dim=-1)

    if isinstance(pictures, Photos):
        classes = (
            np.stack([decode_photo(photo, side) for photo in pictures.files[label]]) for label in range(len(pictures))
        )
    else:
        classes = (drawings.numpy() for drawings in to_side(pictures.images, side))
    features = pad_sequence([features_of(each) for each in classes], batch_first=True)
    groups = list(dict.fromkeys(pictures.alphabets))
    return ExtractedFeatures(
        features, pictures.counts, torch.tensor([groups.index(name) for name in pictures.alphabets])
    )


def compared(
    leo: LatentEmbeddingOptimization, pictures: Drawings | Photos, settings: tuple[Setting, ...], episodes: int
) -> dict[str, Any]:
    """Accuracies of both forms, and their paired difference."""
    side = leo.config.resolution
    trained = [phi for phi in (leo.classifier.phi, leo.encoder.features) if phi is not None]
    exact, quantised = ([OnnxPhi(phi, side, quantise=form) for phi in trained] for form in (False, True))
    before, after = (extracted(phis, pictures, side, leo.views) for phis in (exact, quantised))
    present = torch.arange(before.features.shape[1]) < pictures.counts.unsqueeze(1)
    alike = F.cosine_similarity(before.features, after.features, dim=-1)[present]
    rows = []
    for setting in feasible_settings(before, settings):
        tasks = sample_tasks(before, setting, episodes)
        right, right_in_bytes = (accuracy_per_task(LeoMethod(leo), features, tasks) for features in (before, after))
        difference, ci95 = mean_and_ci95(right_in_bytes - right)
        rows.append(
            {
                "way": setting.way,
                "shot": setting.shots[0],
                "within": setting.within,
                "float32": float(right.mean()),
                "bytes": float(right_in_bytes.mean()),
                "difference": difference,
                "difference_ci95": ci95,
            }
        )
        print(rows[-1], flush=True)
    ms = {"float32": exact[0].seconds_an_image, "bytes": quantised[0].seconds_an_image}
    return {
        "cosine": {"mean": float(alike.mean()), "least": float(alike.min())},
        "phi_ms_an_image": {form: round(1000 * seconds, 3) for form, seconds in ms.items()},
        "rows": rows,
    }


def compare_drawings(data: str, episodes: int) -> None:
    """Both models for drawings."""
    validation = load_drawings(data).split("validation")
    models = []
    for name in DRAWING_MODELS:
        leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / name)
        described = {"model": name, "model_version": read_info(WEIGHTS / name).version}
        models.append(described | compared(leo, validation, SETTINGS_OF_DRAWINGS, episodes))
    what = "phi of the models for drawings in float32 and in bytes, on the same tasks of validation alphabets"
    write_results("bytes", what, episodes=episodes, models=models)


def compare_photos(data: list[str], episodes: int) -> None:
    """The model for photos, on each source of photos."""
    leo = LatentEmbeddingOptimization.from_pretrained(PHOTO_MODEL)
    sources = []
    for photos in load_photos(*data).split("validation").by_source():
        described = {"source": photos.source_name, "classes": len(photos)}
        sources.append(described | compared(leo, photos, SETTINGS_OF_PHOTOS, episodes))
    what = "the shipped model for photos, its backbone in float32 and in bytes, on the same validation tasks"
    version = read_info(PHOTO_MODEL).version
    write_results("photos_bytes", what, model_version=version, episodes=episodes, sources=sources)


def main() -> None:
    """Compare on what is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", help="Omniglot's images_background, folder or zip")
    parser.add_argument("--photos", action="append", help="folder or zip of class folders; may be repeated")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    if given.drawings:
        compare_drawings(given.drawings, given.episodes)
    if given.photos:
        compare_photos(given.photos, given.episodes)


if __name__ == "__main__":
    main()
