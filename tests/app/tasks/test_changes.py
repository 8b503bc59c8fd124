"""A task's later life over real HTTP: more examples, another name, files out and in, several models."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load, save

from app.inference.decoding import decode_one
from app.settings import Settings
from model.images.reader import DrawingReader
from tests.helpers.drawn import CHARACTERS, png
from tests.helpers.models import WEIGHTS
from tests.helpers.serving import serving
from tests.helpers.tasks import create, files, predict

FIVE = list(CHARACTERS)[:5]


@pytest.fixture(scope="module", params=["omniglot", "omniglot-105"])
def each(request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service for each shipped model: one shares phi with its encoder, the other does not."""
    folder = tmp_path_factory.mktemp(request.param)
    with serving(settings.model_copy(update={"data_dir": folder, "weights": WEIGHTS / request.param})) as client:
        yield client


def add(client: httpx.Client, task_id: str, pairs: list[tuple[str, bytes]]) -> httpx.Response:
    data = {"labels": [label for label, _ in pairs]}
    return client.post(f"/tasks/{task_id}/support", data=data, files=files([image for _, image in pairs]))


def test_adding_shots_and_classes_is_as_good_as_sending_all_at_once(each: httpx.Client) -> None:
    first, more = [(name, 0) for name in FIVE[:3]], [(name, seed) for name in FIVE for seed in (1, 2)]
    task = create(each, FIVE[:3]).json()
    response = add(each, task["task_id"], [(name, png(name, seed)) for name, seed in more])
    assert response.status_code == 200, response.text
    grown = response.json()
    assert grown["task_id"] == task["task_id"]
    assert grown["shots"] == {name: (3 if name in FIVE[:3] else 2) for name in FIVE}
    assert each.get(f"/tasks/{task['task_id']}").json() == grown

    pairs = first + more
    whole = each.post(
        "/tasks", data={"labels": [name for name, _ in pairs]}, files=files([png(*pair) for pair in pairs])
    ).json()
    queries = [png(name, 30) for name in FIVE]
    for one, other in zip(*(predict(each, t["task_id"], queries) for t in (grown, whole)), strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=5e-3)  # what is kept is float16
    assert [answer["label"] for answer in predict(each, task["task_id"], queries)] == FIVE


def test_adding_one_class_at_a_time_as_json(client: httpx.Client) -> None:

    task_id = create(client, FIVE[:2]).json()["task_id"]
    for n, name in enumerate(FIVE[2:]):
        body = {"support": [{"image": base64.b64encode(png(name)).decode(), "label": name}]}
        assert client.post(f"/tasks/{task_id}/support", json=body).json()["labels"] == FIVE[: n + 3]
    assert [answer["label"] for answer in predict(client, task_id, [png(name, 8) for name in FIVE])] == FIVE


def test_many_who_add_at_once_lose_nothing(client: httpx.Client) -> None:
    task_id = create(client, FIVE[:2]).json()["task_id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: add(client, task_id, [("ring", png("ring", seed))]), range(1, 5)))
    for response in answers:
        assert response.status_code in (200, 409)
    done = sum(response.status_code == 200 for response in answers)
    assert done >= 1
    assert client.get(f"/tasks/{task_id}").json()["shots"].get("ring") == done


@pytest.mark.parametrize(
    ("labels", "status", "said"),
    [([], 422, "no images"), (["new"] * 2, 422, "1 images but 2 labels"), ([" "], 422, "empty")],
)
def test_bad_additions_leave_the_task_as_it_was(
    client: httpx.Client, labels: list[str], status: int, said: str
) -> None:
    task = create(client, FIVE[:2]).json()
    url = f"/tasks/{task['task_id']}"
    response = client.post(
        f"{url}/support", data={"labels": labels}, files=files([png("ex")] if labels else []) or None
    )
    if not labels:
        response = client.post(f"{url}/support", json={"support": []})
    assert response.status_code == status
    assert said in response.json()["detail"]
    bad_image = add(client, task["task_id"], [("new", b"no picture")])
    assert (bad_image.status_code, bad_image.json()["index"]) == (422, 0)
    assert add(client, "0" * 24, [("new", png("ex"))]).status_code == 404
    assert client.get(url).json() == task


def test_limits_count_what_is_there_already(settings: Settings, tmp_path: Any) -> None:
    tight = settings.model_copy(update={"data_dir": tmp_path, "max_ways": 3, "max_images": 4})
    with serving(tight) as client:
        task_id = create(client, FIVE[:3]).json()["task_id"]
        assert "4 classes" in add(client, task_id, [("fourth", png("ex"))]).json()["detail"]
        assert add(client, task_id, [(FIVE[0], png(FIVE[0], 1))]).status_code == 200
        assert "5 examples in all" in add(client, task_id, [(FIVE[0], png(FIVE[0], 2))]).json()["detail"]


def test_what_was_not_kept_cannot_be_added_to(client: httpx.Client) -> None:
    task_id = create(client, FIVE[:2], keep_support="false").json()["task_id"]
    response = add(client, task_id, [("ring", png("ring"))])
    assert response.status_code == 409
    assert "keep_support" in response.json()["detail"]


def test_rename_and_let_live(client: httpx.Client) -> None:
    task = create(client, FIVE[:2], name="old", ttl_seconds="500").json()
    url = f"/tasks/{task['task_id']}"
    renamed = client.patch(url, json={"name": "new"}).json()
    assert (renamed["name"], renamed["expires_at"]) == ("new", task["expires_at"])
    longer = client.patch(url, json={"ttl_seconds": 5000}).json()
    assert longer["expires_at"] > task["expires_at"]
    forever = client.patch(url, json={"ttl_seconds": None, "name": None}).json()
    assert (forever["name"], forever["expires_at"]) == (None, None)
    assert client.get(url).json() == forever
    assert [answer["label"] for answer in predict(client, task["task_id"], [png(FIVE[0], 5)])] == FIVE[:1]
    for body, said in (
        ({"ttl_seconds": 0}, "greater than or equal to 1"),
        ({"ttl_seconds": 10**12}, "at most"),
        ({"name": " "}, "empty"),
        ({"model": "other"}, "Extra inputs"),
    ):
        response = client.patch(url, json=body)
        assert response.status_code == 422
        assert said in response.json()["detail"]
    assert client.patch("/tasks/none", json={"name": "x"}).status_code == 404


def test_list_by_name_label_and_model(settings: Settings, tmp_path: Any) -> None:
    with serving(settings.model_copy(update={"data_dir": tmp_path})) as client:
        made = [create(client, FIVE[: 2 + n % 2], name=f"{'Odd' if n % 2 else 'even'} {n}").json() for n in range(30)]

        def listed(**params: Any) -> list[str]:
            found: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                page = client.get("/tasks", params={"limit": 7} | params | cursor).json()
                assert len(page["tasks"]) <= 7
                found += [task["task_id"] for task in page["tasks"]]
                if page["next_cursor"] is None:
                    return found
                cursor = {"cursor": page["next_cursor"]}

        ids = [task["task_id"] for task in made][::-1]
        odd = ids[::2]
        assert listed() == ids
        assert listed(name="ODD") == odd
        assert listed(label=FIVE[2]) == odd
        assert listed(name="even", label=FIVE[2]) == []
        assert listed(model="omniglot") == ids
        assert listed(model="other") == []


def test_onnx_and_the_service_agree(each: httpx.Client) -> None:
    task_id = create(each, FIVE, shots=2).json()["task_id"]
    response = each.get(f"/tasks/{task_id}/export.onnx")
    assert response.status_code == 200
    assert f'"{task_id}.onnx"' in response.headers["content-disposition"]
    described = {prop.key: prop.value for prop in onnx.load_from_string(response.content).metadata_props}
    assert described["task_id"] == task_id
    session = onnxruntime.InferenceSession(response.content, providers=["CPUExecutionProvider"])
    side = int(described["side"])
    queries = [png(name, seed) for name in FIVE for seed in (20, 21)]
    images = (
        np.stack([decode_one(query, 0, DrawingReader(side), 10**6) for query in queries])[:, None].astype(np.float32)
        / 255
    )
    (probabilities,) = session.run(["probabilities"], {"images": images})
    answers = predict(each, task_id, queries, top_k=5)

    labels = json.loads(described["labels"])
    for row, answer in zip(probabilities, answers, strict=True):
        for score in answer["top_k"]:
            assert row[labels.index(score["label"])] == pytest.approx(score["confidence"], abs=1e-4)


def imported(client: httpx.Client, data: bytes, **params: Any) -> httpx.Response:
    return client.post("/tasks/import", content=data, params=params)


def test_a_head_leaves_and_comes_back(client: httpx.Client) -> None:
    task = create(client, FIVE, shots=2).json()
    exported = client.get(f"/tasks/{task['task_id']}/parameters").content
    response = imported(client, exported, name="back", ttl_seconds=60)
    assert response.status_code == 201, response.text
    back = response.json()
    assert response.headers["location"] == f"/tasks/{back['task_id']}"
    assert back["task_id"] != task["task_id"]
    for same in ("labels", "shots", "model", "model_version", "adaptation"):
        assert back[same] == task[same]
    assert (back["name"], back["quality"]) == ("back", None)
    queries = [png(name, 9) for name in FIVE]
    for one, other in zip(*(predict(client, t["task_id"], queries) for t in (task, back)), strict=True):
        assert (one["label"], one["confidence"]) == (other["label"], pytest.approx(other["confidence"], abs=1e-5))
    assert add(client, back["task_id"], [("ring", png("ring"))]).status_code == 409


def test_files_that_are_no_heads_are_refused(client: httpx.Client) -> None:
    exported = client.get(f"/tasks/{create(client, FIVE).json()['task_id']}/parameters").content
    tensors = load(exported)
    header = json.loads(exported[8 : 8 + int.from_bytes(exported[:8], "little")])["__metadata__"]

    def altered(metadata: dict[str, str] | None = None, **changes: Any) -> bytes:
        changed = tensors | {name.replace("_", "."): value for name, value in changes.items()}
        kept = {key: value for key, value in changed.items() if value is not None}
        return save(kept, metadata=header | (metadata or {}))

    def many_ways(ways: int) -> bytes:
        described = {"labels": json.dumps([str(n) for n in range(ways)]), "shots": json.dumps([1] * ways)}
        return altered(
            described, **{name.replace(".", "_"): value[:1].repeat(ways, 0) for name, value in tensors.items()}
        )

    weight, report = tensors["fc.weight"], json.loads(header["adaptation"])
    null = json.dumps({"__metadata__": None, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    without_metadata = len(null).to_bytes(8, "little") + null
    cases = [
        (b"", 422, "not a safetensors file"),
        (b"\xff" * 100, 422, "not a safetensors file"),
        (exported[:-5], 422, "not a safetensors file"),
        (save({"a": weight}), 422, "lacks"),
        (altered(codes=None), 422, "lacks codes"),
        (altered(fc_weight=weight + 1), 422, "changed after its export"),
        (altered(fc_weight=weight * np.float32("nan")), 422, "not finite"),
        (altered(fc_weight=weight[:, :3].copy()), 422, "must be"),
        (altered(fc_bias=tensors["fc.bias"].astype(np.float64)), 422, "float64"),
        (altered({"labels": '["a","a","b","c","d"]'}), 422, "must differ"),
        (altered({"labels": "[" * 5000}), 422, "labels"),
        (altered({"labels": '["a"]'}), 422, "one shot count each"),
        (altered({"shots": '[1,1,1,1,"x"]'}), 422, "shots"),
        (altered({"adaptation": '{"losses":[NaN]}'}), 422, "adaptation"),
        (altered({"adaptation": json.dumps(report | {"losses": [0.1] * 10_000})}), 422, "adaptation"),
        (altered({"labels": json.dumps(["", *FIVE[1:]])}), 422, "a label is empty"),
        (altered({"labels": json.dumps(["nul\0", *FIVE[1:]])}), 422, "control characters"),
        (altered({"labels": json.dumps(["esc\x1b[31m", *FIVE[1:]])}), 422, "control characters"),
        (altered({"labels": '["\\ud800", "b", "c", "d", "e"]'}), 422, "control characters"),
        (altered({"labels": json.dumps(["a" * 101, *FIVE[1:]])}), 422, "101 characters"),
        (altered({"labels": json.dumps(["a" * 20_000_000, *FIVE[1:]])}), 422, "header"),
        (altered({"shots": "[true,1,1,1,1]"}), 422, "shots"),
        (altered({"shots": "[999,1,1,1,1]"}), 422, "1003 examples"),
        (many_ways(1), 422, "at least 2 classes"),
        (many_ways(101), 422, "101 classes"),
        (exported.replace(b'"__metadata__":{', b'"__metadata__":nul', 1), 422, "not a safetensors file"),
        (without_metadata, 422, "metadata"),
        ((2**24).to_bytes(8, "little") + b" " * 2**24, 422, "header"),
        (altered({"model_version": "older"}), 409, "older"),
        (altered({"model": "other"}), 409, "other"),
    ]
    for data, status, said in cases:
        response = imported(client, data)
        assert response.status_code == status, (said, response.text)
        assert said in response.json()["detail"], response.text


def test_two_models_side_by_side(settings: Settings, tmp_path: Any) -> None:
    both = settings.model_copy(update={"data_dir": tmp_path, "models": "omniglot-105"})
    with serving(both) as client:
        listed = client.get("/models").json()["models"]
        assert [(model["name"], model["default"]) for model in listed] == [("omniglot", True), ("omniglot-105", False)]

        def whole(name: str | None) -> tuple[str, list[str]]:
            task = create(client, FIVE, **({"model": name} if name else {})).json()
            answers = predict(client, task["task_id"], [png(label, 12) for label in FIVE])
            return task["model"], [answer["label"] for answer in answers]

        names = [None, "omniglot-105", "omniglot"] * 4
        with ThreadPoolExecutor(6) as pool:  # so that batches hold work for both
            done = list(pool.map(whole, names))
        assert done == [(name or "omniglot", FIVE) for name in names]
        shapes = [
            load(client.get(f"/tasks/{create(client, model=name).json()['task_id']}/parameters").content)[
                "fc.weight"
            ].shape
            for name in ("omniglot", "omniglot-105")
        ]
        assert shapes == [(5, listed[0]["feature_dim"]), (5, listed[1]["feature_dim"])]
        refused = create(client, model="absent")
        assert refused.status_code == 422
        assert "'omniglot', 'omniglot-105'" in refused.json()["detail"]


def test_a_planted_wrong_label_is_told_and_stays_told(client: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in FIVE for seed in range(3)]
    pairs[4] = (FIVE[1], png(FIVE[3], 7))  # a drawing of the fourth sign under the second's name
    task = client.post(
        "/tasks", data={"labels": [name for name, _ in pairs]}, files=files([image for _, image in pairs])
    ).json()
    quality = task["quality"]
    top = quality["suspects"][0]
    assert (top["index"], top["label"], top["looks_like"]) == (4, FIVE[1], FIVE[3])
    assert [each["label"] for each in quality["classes"]] == FIVE
    assert quality["classes"][1]["agreement"] == pytest.approx(2 / 3, abs=0.01)
    assert client.get(f"/tasks/{task['task_id']}").json()["quality"] == quality
    clean = create(client, FIVE, shots=3).json()["quality"]
    assert clean["suspects"] == []
    assert clean["near_duplicates"] == []


def test_the_same_picture_in_two_classes_is_told(client: httpx.Client) -> None:
    pairs = [("a", png("ring")), ("b", png("ex")), ("c", png("ring"))]
    task = client.post(
        "/tasks", data={"labels": [name for name, _ in pairs]}, files=files([image for _, image in pairs])
    ).json()
    (twins,) = task["quality"]["near_duplicates"]
    assert (twins["first"], twins["second"]) == (0, 2)
    assert twins["similarity"] == pytest.approx(1, abs=0.01)
    assert [each["agreement"] for each in task["quality"]["classes"]] == [None] * 3
