"""A model gives a picture one answer: over HTTP, from the command line, exported, alone and among others."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.settings import Settings
from model.backbones.cache import cache_folder
from model.backbones.onnx_file import CLIP_FILE
from model.onnx_runtime import session
from tests.helpers.command import run_leo
from tests.helpers.drawn import png
from tests.helpers.models import WEIGHTS
from tests.helpers.photographed import PRODUCTS, jpeg, product
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, OTHERS, create_from, predict

ALIKE = 1e-3  # between two probabilities
ALIKE_KNOWN = 0.01  # which rises steeply where most photos score
ALIKE_KNOWN_DRAWN = 0.03  # and more so with drawings, whose features the processes compute in 8 or in 32 bits
CLASSES, EXAMPLES = list(PRODUCTS)[:3], 2  # of each class
QUERIES = 64  # in one call
SOME = slice(None, None, 4)  # of the queries, for ways that take one at a time


@pytest.fixture(params=["photos-lite0", "photos-large"])
def model(request: pytest.FixtureRequest) -> Path:
    """The folder of a shipped model, where its backbone is on disk."""
    if request.param == "photos-large" and not (cache_folder() / CLIP_FILE).is_file():
        pytest.skip("CLIP is not here: leo backbones fetch clip-vit-b16, or set LEO_BACKBONES_DIR to its folder")
    return WEIGHTS / request.param


def test_a_photo_has_one_answer(model: Path, tmp_path: Path) -> None:
    # As small as they are used, so that nothing but the feature extractor differs.
    examples = {(label, n): jpeg(product(label, n, (224, 224))) for label in CLASSES for n in range(EXAMPLES)}
    queries = [jpeg(product(CLASSES[n % len(CLASSES)], 50 + n, (224, 224))) for n in range(QUERIES)]
    for (label, n), data in examples.items():
        (tmp_path / "examples" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "examples" / label / f"{n}.jpg").write_bytes(data)
    (tmp_path / "queries").mkdir()
    for n, data in enumerate(queries):
        (tmp_path / "queries" / f"{n:02}.jpg").write_bytes(data)

    command = (
        "classify",
        tmp_path / "examples",
        tmp_path / "queries",
        "--model",
        model,
        "--format",
        "json",
        "--top",
        3,
    )
    said = json.loads(run_leo(*command).stdout)
    by_command, known_by_command = [each["top"] for each in said], [each["known"] for each in said]
    # 64 photos take seven seconds on one idle core, and this one may be busy.
    settings = Settings(data_dir=tmp_path / "data", weights=model, device="cpu", request_timeout=300)
    with serving(settings) as client:
        client.timeout = 300
        made = create_from(client, [(label, data) for (label, _), data in examples.items()]).json()

        def ask(*some: bytes) -> list[dict[str, Any]]:
            answers: list[dict[str, Any]] = predict(client, made["task_id"], some, top_k=len(CLASSES))
            return answers

        answers, alone = ask(*queries), [ask(query)[0] for query in queries[SOME]]
        exported = session(client.get(f"/tasks/{made['task_id']}/export.onnx").content)
    by_file = [
        exported.run(["probabilities", "known"], {"picture": np.asarray(Image.open(io.BytesIO(query)))})
        for query in queries[SOME]
    ]
    expected = np.array([probabilities(answer["top_k"], made["labels"]) for answer in answers])  # [Q, N]
    known = np.array([answer["known"] for answer in answers])
    assert len(expected) == QUERIES
    for others, same in (([each["top_k"] for each in alone], expected[SOME]), (by_command, expected)):
        found = [probabilities(answer, made["labels"]) for answer in others]
        np.testing.assert_allclose(found, same, atol=ALIKE, rtol=0)
    np.testing.assert_allclose([each for each, _ in by_file], expected[SOME], atol=ALIKE, rtol=0)
    np.testing.assert_allclose([each["known"] for each in alone], known[SOME], atol=ALIKE_KNOWN, rtol=0)
    np.testing.assert_allclose(known_by_command, known, atol=ALIKE_KNOWN, rtol=0)
    np.testing.assert_allclose([each.item() for _, each in by_file], known[SOME], atol=ALIKE_KNOWN, rtol=0)
    assert known.min() < known.max()


def probabilities(answer: list[dict[str, float | str]], labels: list[str]) -> list[float]:
    """Those of the labels in order, from an answer that names all."""
    by_label = {str(score["label"]): float(score["confidence"]) for score in answer}
    return [by_label[label] for label in labels]


@pytest.mark.parametrize("device", ["cpu", "process:cpu"])
def test_a_drawing_is_as_known_wherever_it_is_asked_about(device: str, tmp_path: Path) -> None:
    """With several examples the task's own threshold counts, which depends on two statistics of them."""
    classes, examples = FIVE[:3], 3
    queries = [png(name, 70 + n) for n in range(3) for name in (*FIVE, *OTHERS)]
    for name in classes:
        (tmp_path / "examples" / name).mkdir(parents=True)
        for n in range(examples):
            (tmp_path / "examples" / name / f"{n}.png").write_bytes(png(name, n))
    (tmp_path / "queries").mkdir()
    for n, data in enumerate(queries):
        (tmp_path / "queries" / f"{n:02}.png").write_bytes(data)
    command = ("classify", tmp_path / "examples", tmp_path / "queries", "--model", "omniglot", "--format", "json")
    by_command = [each["known"] for each in json.loads(run_leo(*command).stdout)]
    with serving(Settings(data_dir=tmp_path / "data", device=device)) as client:
        made = create_from(client, [(name, png(name, n)) for name in classes for n in range(examples)]).json()
        together = [each["known"] for each in predict(client, made["task_id"], queries)]
        alone = [predict(client, made["task_id"], [query])[0]["known"] for query in queries]
        exported = session(client.get(f"/tasks/{made['task_id']}/export.onnx").content)
    pictures = [np.asarray(Image.open(io.BytesIO(query)))[..., np.newaxis] for query in queries]
    by_file = [exported.run(["known"], {"picture": picture})[0].item() for picture in pictures]
    for found in (alone, by_command, by_file):
        np.testing.assert_allclose(found, together, atol=ALIKE_KNOWN_DRAWN, rtol=0)
    assert min(together) < 0.05 < max(together)
