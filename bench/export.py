"""How near exported classifiers come to the service: in Python by ONNX Runtime, and in a browser from a static folder.

python -m bench.export --drawings images_background.zip --photos caltech101.zip --photos grocery.zip

Asks the service over HTTP, and the exported files of the same tasks, about 1,000 drawings of validation alphabets and
1,000 photos, and a browser about 100 of each; writes bench/results/export.json. It needs chromium, and onnxruntime-web
(make browser-runtime). Five minutes on an idle machine.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

from app.settings import Settings
from bench.common import WEIGHTS, write_results
from bench.newcomer import CHROMIUM, QUIETLY
from model.data.classes import find_classes
from model.data.sources import File
from tests.helpers.serving import serving
from tests.helpers.standalone import PACKAGE, classify, export, python_classifier, served
from tests.helpers.tasks import create_from

VALIDATION_ALPHABETS = 5  # the last ones, on which the shipped models were not trained
TASKS, WAYS, SHOTS, QUERIES = 20, 5, 3, 10  # of each kind; queries of each class
IN_BROWSER = 2  # tasks
MODELS = {"drawings": "omniglot", "photos": "photos-lite0"}


Answer = tuple[list[float], float]  # the probability of each label, and `known`


@dataclass(frozen=True)
class Asked:
    """What one picture got: the service's answer and the export's."""

    service: Answer
    exported: Answer
    seconds: float  # that the export took


def classes_of(paths: Sequence[Path], *, validation: bool) -> list[list[File]]:
    """The pictures of each class of some data sets; of drawings those of the validation alphabets only."""
    found = []
    for path in paths:
        named = find_classes(path).named()
        groups = sorted({name[0] for name in named})[-VALIDATION_ALPHABETS:] if validation else None
        found += [files for name, files in named.items() if groups is None or name[0] in groups]
    return [files for files in found if len(files) >= SHOTS + QUERIES]


def python_file(folder: Path) -> Callable[[bytes], Answer]:
    """A function that classifies an image file as the exported `predict.py` does."""
    classifier = python_classifier(folder)

    def ask(data: bytes) -> Answer:
        answer = classifier.classify(data)
        found = answer["probabilities"]
        return [found.get(label, math.nan) for label in classifier.about["labels"]], answer["known"] or math.nan

    return ask


def answers(client: httpx.Client, task: dict[str, Any], queries: list[bytes]) -> list[Answer]:
    """The service's answers about each picture, in the order of the task's labels."""
    files = [("images", (f"{n}", data)) for n, data in enumerate(queries)]
    response = client.post(f"/tasks/{task['task_id']}/predict", files=files, params={"top_k": WAYS})
    response.raise_for_status()
    found = []
    for said in response.json()["predictions"]:
        by_label = {score["label"]: score["confidence"] for score in said["top_k"]}
        found.append(([by_label[label] for label in task["labels"]], said["known"]))
    return found


def compare(
    client: httpx.Client, kind: str, classes: list[list[File]], page: Page | None, tasks: int
) -> tuple[list[Asked], list[Asked]]:
    """Make tasks, export them and ask both -> what Python got, and what the browser got."""
    chance, in_python, in_browser = random.Random(0), [], []
    for number in range(tasks):
        chosen = [chance.sample(files, SHOTS + QUERIES) for files in chance.sample(classes, WAYS)]
        pairs = [(f"class {n}", file.read()) for n, files in enumerate(chosen) for file in files[:SHOTS]]
        task = create_from(client, pairs, model=MODELS[kind]).json()
        queries = [file.read() for files in chosen for file in files[SHOTS:]]
        expected = answers(client, task, queries)
        with tempfile.TemporaryDirectory() as name:
            folder = export(client, task["task_id"], Path(name), PACKAGE)
            in_python += asked(expected, queries, python_file(folder))
            if page and number < IN_BROWSER:
                with served(folder) as address:
                    page.goto(address)
                    expect(page.locator("#ask")).to_be_visible(timeout=120_000)
                    in_browser += asked(expected, queries, lambda data: classify(page, data))
        print(kind, number, flush=True)
    return in_python, in_browser


def asked(expected: list[Answer], queries: list[bytes], ask: Callable[[bytes], Answer]) -> list[Asked]:
    """Ask an export about pictures."""
    found = []
    for service, query in zip(expected, queries, strict=True):
        began = time.perf_counter()
        exported = ask(query)
        found.append(Asked(service, exported, time.perf_counter() - began))
    return found


def figures(of: list[Asked]) -> dict[str, Any]:
    """How many labels are the same, and how far probabilities are apart."""
    pairs = [(one.service[0], one.exported[0]) for one in of]
    probabilities = [max(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in pairs]
    return {
        "pictures": len(of),
        "same_label": sum(int(np.argmax(service)) == int(np.argmax(exported)) for service, exported in pairs),
        "probabilities_apart": spread(probabilities),
        "known_apart": spread([abs(one.service[1] - one.exported[1]) for one in of]),
        "median_ms": round(1000 * statistics.median(one.seconds for one in of), 1),
    }


def spread(apart: list[float]) -> dict[str, float]:
    """The median, the 99th percentile and the largest of differences."""
    return {"p50": float(np.quantile(apart, 0.5)), "p99": float(np.quantile(apart, 0.99)), "max": max(apart)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=Path, required=True)
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--tasks", type=int, default=TASKS)
    options = parser.parse_args()
    classes = {
        "drawings": classes_of([options.drawings], validation=True),
        "photos": classes_of(options.photos, validation=False),
    }
    rows = []
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY).new_page()
        for precision in ("auto", "float32"):
            with tempfile.TemporaryDirectory() as folder:
                settings = Settings(
                    data_dir=Path(folder),
                    weights=WEIGHTS / "omniglot",
                    models="photos-lite0",
                    device="cpu",
                    phi_precision=precision,
                )
                with serving(settings) as client:
                    computes = {each["name"]: each["phi_precision"] for each in client.get("/models").json()["models"]}
                    for kind in MODELS:
                        in_python, in_browser = compare(client, kind, classes[kind], page, options.tasks)
                        row = {"kind": kind, "phi": computes[MODELS[kind]]}
                        rows += [
                            {**row, "where": "Python", **figures(in_python)},
                            {**row, "where": "browser", **figures(in_browser)},
                        ]
                        print(json.dumps(rows[-2:], indent=2), flush=True)
    write_results(
        "export",
        "Exported classifiers beside the service over HTTP, on the same pictures; of its probabilities the "
        "one that is farthest apart counts for a picture",
        tasks=options.tasks,
        ways=WAYS,
        shots=SHOTS,
        rows=rows,
    )


if __name__ == "__main__":
    main()
