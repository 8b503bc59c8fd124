"""Whether queries should be seen in several views too: averaged over bent copies, as the support is.

The shipped model answers the same tasks from the validation alphabets; differences are paired with the first row's,
where a query is seen once, as the service does. phi runs once for each view, so a prediction takes so many times as
long.

    python -m bench.query_views --data .../images_background.zip        # some minutes on one core
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common import WEIGHTS, write_validation_results
from bench.intervals import as_row, in_percent, with_ci95
from bench.support_views import SETTINGS, changed
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting, accuracy_per_task, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from model.leo import LatentEmbeddingOptimization

CHOICES = (1, 3, 5, 9)  # views of a query


def main() -> None:
    """Compare every choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    keep_freed_memory()
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    validation = load_drawings(given.data).split("validation")
    shipped = extract_leo_features(leo, validation)
    of_query, of_support = shipped.features.chunk(2, dim=-1)  # [C, D, F] each
    first: dict[Setting, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for views in CHOICES:
        if views > 1:
            other = extract_leo_features(changed(leo, views, leo.config.inner_temperature), validation)
            of_query = other.features.chunk(2, dim=-1)[1]
        seen = ExtractedFeatures(torch.cat([of_query, of_support], dim=-1), shipped.counts, shipped.groups)
        for setting in SETTINGS:
            right = accuracy_per_task(LeoMethod(leo), seen, sample_tasks(seen, setting, given.episodes))
            figures = with_ci95(accuracy=right, against_first=right - first.setdefault(setting, right))
            rows.append({"views": views, **as_row(setting), **figures})
            print(views, setting, in_percent(figures), flush=True)
    version = read_info(WEIGHTS / "omniglot").version
    what = "queries in several views, with the shipped weights"
    write_validation_results("query_views", what, rows, given.episodes, model="omniglot", model_version=version)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
