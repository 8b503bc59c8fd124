"""Photos of none of a task's classes: what is like one of them is unknown, wherever it is asked."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.helpers.command import run_leo
from tests.helpers.models import WEIGHTS
from tests.helpers.photographed import PRODUCTS, jpeg, product
from tests.helpers.tasks import predict

CLASSES, OTHER = list(PRODUCTS)[:2], list(PRODUCTS)[2]
SIDE = (224, 224)  # as models take them, so that no way of reading a JPEG differs


def photo(name: str, seed: int) -> bytes:
    return jpeg(product(name, seed, SIDE))


EXAMPLES = [(name, photo(name, seed)) for name in CLASSES for seed in (1, 2)]
NEGATIVES = [photo(OTHER, seed) for seed in (1, 2, 3)]
OWN = [photo(name, seed) for name in CLASSES for seed in range(20, 26)]
LIKE_THEM = [photo(OTHER, seed) for seed in range(20, 30)]


def create(client: httpx.Client, negatives: list[bytes] = NEGATIVES) -> str:
    parts = [("images", ("e.jpg", data)) for _, data in EXAMPLES]
    parts += [("negatives", ("n.jpg", data)) for data in negatives]
    data = {"labels": [name for name, _ in EXAMPLES], "model": "photos-lite0"}
    made = client.post("/tasks", data=data, files=parts)
    assert made.status_code == 201, made.text
    task_id: str = made.json()["task_id"]
    return task_id


def known_of(client: httpx.Client, task_id: str, pictures: list[bytes]) -> list[float]:
    return [answer["known"] for answer in predict(client, task_id, pictures)]


def test_a_negative_itself_and_pictures_like_it_are_unknown(both: httpx.Client) -> None:
    plain, task_id = create(both, []), create(both)
    assert max(known_of(both, task_id, NEGATIVES)) < 0.02
    before, after = (known_of(both, each, LIKE_THEM) for each in (plain, task_id))
    assert sum(known < 0.05 for known in after) >= 9
    assert sum(after) < 0.1 * sum(before)
    assert min(known_of(both, task_id, OWN)) > 0.5  # although oranges look like limes


def test_it_does_not_matter_in_which_calls_negatives_come(both: httpx.Client) -> None:
    together, one_by_one = create(both), create(both, [])
    for negative in NEGATIVES:
        added = both.post(f"/tasks/{one_by_one}/support", files=[("negatives", ("n.jpg", negative))])
        assert added.status_code == 200, added.text
    asked = [*NEGATIVES, *LIKE_THEM, *OWN]
    assert known_of(both, one_by_one, asked) == pytest.approx(known_of(both, together, asked), abs=1e-4)


def test_all_ways_to_ask_agree(both: httpx.Client, tmp_path: Path) -> None:
    task_id, asked = create(both), [*NEGATIVES, *LIKE_THEM, *OWN]
    by_codes = known_of(both, task_id, asked)
    for _ in range(3):  # the head is decoded once the task is asked again
        assert known_of(both, task_id, asked) == pytest.approx(by_codes, abs=1e-4)
    for call in ("parameters", "export.zip"):
        back = both.post("/tasks/import", content=both.get(f"/tasks/{task_id}/{call}").content).json()
        assert known_of(both, back["task_id"], asked) == pytest.approx(by_codes, abs=1e-4)

    session = onnxruntime.InferenceSession(both.get(f"/tasks/{task_id}/export.onnx").content)
    pictures = [np.asarray(Image.open(io.BytesIO(each))) for each in asked]
    by_graph = [session.run(["known"], {"picture": picture})[0][0] for picture in pictures]
    assert by_graph == pytest.approx(by_codes, abs=0.02)

    by_command = classify(tmp_path, asked)
    assert by_command == pytest.approx(by_codes, abs=1e-4)


def test_the_command_knows_as_much_as_the_service(both: httpx.Client, tmp_path: Path) -> None:
    asked = [*LIKE_THEM, *OWN]
    assert classify(tmp_path, asked, []) == pytest.approx(known_of(both, create(both, []), asked), abs=2e-5)


def classify(folder: Path, asked: list[bytes], negatives: list[bytes] = NEGATIVES) -> list[float]:
    """What `leo classify` says of pictures, with the same examples and negatives."""
    for n, (name, data) in enumerate(EXAMPLES):
        (folder / "support" / name).mkdir(parents=True, exist_ok=True)
        (folder / "support" / name / f"{n}.jpg").write_bytes(data)
    for name, pictures in (("support/_negatives", negatives), ("asked", asked)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n, data in enumerate(pictures):
            (folder / name / f"{n:02}.jpg").write_bytes(data)
    given = ("classify", folder / "support", folder / "asked", "--model", WEIGHTS / "photos-lite0", "--format", "json")
    return [answer["known"] for answer in json.loads(run_leo(*given).stdout)]
