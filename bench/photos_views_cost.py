"""What it costs to make a task of photos whose examples are seen in several views, beside one.

    python -m bench.photos_views_cost      # a minute on an idle machine

The engine runs in this process, so decoding and HTTP are left out; models with one view and with those of the shipped
one take turns. Writes bench/results/photos_views_cost.json.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from app.inference.engine import Engine
from app.inference.work import Adapt
from bench.common import WEIGHTS, read_results, write_results
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import sample_photos

RESULTS, MODEL = "photos_views_cost", "photos-lite0"
EXAMPLES, WAYS, ROUNDS = (5, 25), 5, 20


def engines() -> dict[int, Engine]:
    """The shipped model, and the same that sees each example once, by their number of views."""
    shipped = Engine(WEIGHTS / MODEL, "cpu")
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / MODEL)
    views = leo.config.support_views
    leo.config = leo.config.model_copy(
        update={"support_views": 1, "inner_ridge": (leo.config.inner_ridge or 1) / views}
    )
    with tempfile.TemporaryDirectory() as folder:
        save_model(leo, Path(folder) / "once", "once")
        return {1: Engine(Path(folder) / "once", "cpu"), views: shipped}


def sentence() -> str:
    """What the results say, for docs/photos.md."""
    found = read_results(RESULTS)
    of = {(row["views"], row["examples"]): row["ms"] for row in found["rows"]}
    views = max(row["views"] for row in found["rows"])
    times = " and ".join(
        f"{of[views, count] / of[1, count]:.1f} times as long for {count} photos ({of[1, count]:.0f} and "
        f"{of[views, count]:.0f} ms)"
        for count in EXAMPLES
    )
    return (
        f"Beside one view, {views} keep the engine busy {times}; {found['machine']['cores']} cores, "
        f"{found['machine']['processor']}, {found['date']}: `python -m bench.{RESULTS}`."
    )


def main() -> None:
    """Measure and write."""
    of_views, took = engines(), dict[tuple[int, int], list[float]]()
    for _ in range(1 + ROUNDS):
        for count in EXAMPLES:
            work = Adapt(sample_photos(count, 224), np.arange(count) % WAYS)
            for views, engine in of_views.items():
                began = time.perf_counter()
                engine.run([work])
                took.setdefault((views, count), []).append(1000 * (time.perf_counter() - began))
    rows = [
        {"views": views, "examples": count, "ms": round(statistics.median(each[1:]), 2)}
        for (views, count), each in took.items()
    ]
    write_results(RESULTS, "milliseconds of an adaptation to photos by their number of views, the median", rows=rows)
    print(sentence())


if __name__ == "__main__":
    main()
