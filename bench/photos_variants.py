"""Other models for photos beside the shipped one, on the same validation tasks: accuracy, and time an image.

    python -m bench.photos_variants --data caltech101.zip --data grocery.zip plain=runs/plain/model

The models are what `leo train --preset photos-plain` or `--preset photos-lite2` makes, say.
Writes bench/results/photos_variants.json.
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import torch

from bench.common import WEIGHTS, write_results
from model.baselines.leo import LeoMethod
from model.baselines.method import Method
from model.checkpoint import read_info
from model.data.photos import load_photos
from model.evaluation.accuracy import five_way_settings
from model.evaluation.compare import Comparison
from model.evaluation.photo_card import QUERY, SHOTS
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import OnnxPhi


def described(name: str, folder: Path, leo: LatentEmbeddingOptimization) -> dict[str, Any]:
    """A model, and how long its phi takes as it would be served."""
    phi = OnnxPhi(copy.deepcopy(leo.classifier.phi), leo.config.resolution)
    return {
        "name": name,
        "version": read_info(folder).version,
        "backbone": leo.config.backbone,
        "latent_dim": leo.config.latent_dim,
        "phi_ms_an_image": round(1000 * phi.seconds_an_image, 2),
        "in_bytes": phi.quantised,
    }


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="what they were trained on; may be repeated")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    given = parser.parse_args()
    others = {name: Path(folder) for name, _, folder in (each.partition("=") for each in given.models)}
    folders = {"shipped": WEIGHTS / "photos-lite0"} | others
    leos = {name: LatentEmbeddingOptimization.from_pretrained(folder) for name, folder in folders.items()}
    methods: list[Method] = [LeoMethod(leo) for leo in leos.values()]
    sources = []
    for photos in load_photos(*given.data).split("validation").by_source():
        comparison = Comparison(methods, photos, leos["shipped"].config.resolution, torch.device("cpu"))
        rows = []
        for setting in five_way_settings(comparison.extracted[0], SHOTS, QUERY):
            found = comparison.run(setting, given.episodes, repeats=None)
            figures = [{"name": name} | one.figures() for name, one in zip(leos, found, strict=True)]
            rows.append({"way": setting.way, "shot": setting.shots[0], "models": figures})
        sources.append({"source": photos.source_name, "classes": len(photos), "rows": rows})
    write_results(
        "photos_variants",
        "LEO with other weights beside the shipped one, validation classes; difference: its accuracy less the shipped "
        "one's, on the same tasks",
        episodes=given.episodes,
        models=[described(name, folders[name], leo) for name, leo in leos.items()],
        sources=sources,
    )


if __name__ == "__main__":
    main()
