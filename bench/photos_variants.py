"""Other models for photos beside the shipped one, on the same validation tasks: accuracy, and time an image.

`python -m bench.photos_variants --data caltech101.zip --data grocery.zip plain=runs/plain/model`, say, with what
`leo train --preset photos-plain` or `--preset photos-lite2` makes.
Writes bench/results/photos_variants.json.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch

from bench.latency import RESULTS
from bench.photos import WEIGHTS
from model.baselines.latent import Leo
from model.baselines.method import Method
from model.checkpoint import read_info
from model.data.photos import load_photos
from model.evaluation.accuracy import feasible_settings
from model.evaluation.card import machine, today
from model.evaluation.compare import Comparison
from model.evaluation.photo_card import SETTINGS
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="what they were trained on; may be repeated")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    given = parser.parse_args()
    folders = {"shipped": WEIGHTS} | {name: Path(at) for name, _, at in (each.partition("=") for each in given.models)}
    leos = {name: LatentEmbeddingOptimization.from_pretrained(folder) for name, folder in folders.items()}
    methods: list[Method] = [Leo(leo) for leo in leos.values()]
    sources = []
    for part in load_photos(*given.data).split("validation").by_source():
        comparison = Comparison(methods, part, leos["shipped"].config.resolution, torch.device("cpu"))
        rows = []
        for setting in feasible_settings(comparison.sources[0], SETTINGS):
            found = comparison.run(setting, given.episodes, repeats=None)
            figures = [{"name": name} | one.figures() for name, one in zip(leos, found, strict=True)]
            rows.append({"way": setting.way, "shot": setting.shots[0], "models": figures})
        sources.append({"source": part.sources[part.files[0][0][0]].name, "classes": len(part), "rows": rows})
    results = {
        "what": "LEO with other weights beside the shipped one, validation classes; difference: its accuracy less "
        "the shipped one's, on the same tasks",
        "date": today(),
        "machine": machine(),
        "episodes": given.episodes,
        "models": [described(name, folders[name], leo) for name, leo in leos.items()],
        "sources": sources,
    }
    target = RESULTS / "photos_variants.json"
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
