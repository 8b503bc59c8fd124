"""Heads as files: ONNX graphs, and safetensors that come back. Over real HTTP."""

import io
import json
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

from app.inference.decoding import decode_one
from model.images.reader import DrawingReader
from tests.helpers.drawn import CHARACTERS, canvas, encoded, photo, png
from tests.helpers.tasks import FIVE, add, create, predict


def graph_of(client: httpx.Client, task_id: str, **params: str) -> tuple[bytes, dict[str, str]]:
    """A task's ONNX graph, and its metadata."""
    response = client.get(f"/tasks/{task_id}/export.onnx", params=params)
    assert response.status_code == 200, response.text
    assert f'"{task_id}.onnx"' in response.headers["content-disposition"]
    described = {prop.key: prop.value for prop in onnx.load_from_string(response.content).metadata_props}
    assert described["task_id"] == task_id
    return response.content, described


def assert_same(answer: dict[str, Any], row: NDArray[np.float32], labels: list[str]) -> None:
    for score in answer["top_k"]:
        assert row[labels.index(score["label"])] == pytest.approx(score["confidence"], abs=1e-3)


def test_the_onnx_graph_and_the_service_agree(each_model: httpx.Client) -> None:
    task_id = create(each_model, FIVE, shots=2).json()["task_id"]
    graph, described = graph_of(each_model, task_id)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    queries = [png(name, seed) for name in FIVE for seed in (20, 21)]
    queries += [encoded(picture(CHARACTERS[name])) for name in FIVE for picture in (photo, canvas)]
    for query, answer in zip(queries, predict(each_model, task_id, queries, top_k=5), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(query)))
        picture = picture[..., np.newaxis] if picture.ndim == 2 else picture
        probabilities, (known,) = session.run(["probabilities", "known"], {"picture": picture})
        assert_same(answer, probabilities, json.loads(described["labels"]))
        assert known == pytest.approx(answer["known"], abs=2e-2)
    (nothing,) = session.run(["probabilities"], {"picture": np.full((50, 50, 3), 255, np.uint8)})
    assert nothing.shape == (5,)
    assert np.isnan(nothing).all()


def test_the_graph_for_prepared_images_and_the_service_agree(each_float32_model: httpx.Client) -> None:
    task_id = create(each_float32_model, FIVE, shots=2).json()["task_id"]
    graph, described = graph_of(each_float32_model, task_id, prepared="true")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    read = DrawingReader(int(described["side"]))
    queries = [png(name, seed) for name in FIVE for seed in (20, 21)]
    images = np.stack([decode_one(query, 0, read, 10**6) for query in queries])[:, None].astype(np.float32) / 255
    probabilities, known = session.run(["probabilities", "known"], {"images": images})
    answers = predict(each_float32_model, task_id, queries, top_k=5)
    for row, answer in zip(probabilities, answers, strict=True):
        assert_same(answer, row, json.loads(described["labels"]))
    assert known.tolist() == pytest.approx([answer["known"] for answer in answers], abs=1e-3)


def test_an_export_refuses_options_that_it_does_not_know(client: httpx.Client) -> None:
    task_id = create(client, FIVE).json()["task_id"]
    assert client.get(f"/tasks/{task_id}/export.onnx", params={"prepard": "true"}).status_code == 422


def imported(client: httpx.Client, data: bytes, **params: Any) -> httpx.Response:
    return client.post("/tasks/import", content=data, params=params)


def test_an_exported_head_is_imported_as_the_same_classifier(client: httpx.Client) -> None:
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


def test_a_head_brings_the_cohesion_of_its_support_along_and_may_lack_it(client: httpx.Client) -> None:
    exported = client.get(f"/tasks/{create(client, FIVE, shots=3).json()['task_id']}/parameters").content
    header = json.loads(exported[8 : 8 + int.from_bytes(exported[:8], "little")])["__metadata__"]
    assert 0 < float(header.pop("cohesion")) < 1
    queries = [png(name, 9) for name in FIVE]
    known = []
    for cohesion in ({}, {"cohesion": "-1"}, {"cohesion": "1"}):
        back = imported(client, save(load(exported), metadata=header | cohesion))
        assert back.status_code == 201, back.text
        known.append([answer["known"] for answer in predict(client, back.json()["task_id"], queries)])
    for usual, loose, tight in zip(*known, strict=True):
        assert loose >= usual >= tight  # own pictures of a loose task score lower, and are as known
    assert sum(known[1]) > sum(known[2])
    single = client.get(f"/tasks/{create(client, FIVE).json()['task_id']}/parameters").content
    assert b'"cohesion"' not in single


def test_a_head_brings_the_score_of_its_own_examples_along_and_may_lack_it(client: httpx.Client) -> None:
    made = create(client, FIVE, shots=3).json()["task_id"]
    exported = client.get(f"/tasks/{made}/parameters").content
    header = json.loads(exported[8 : 8 + int.from_bytes(exported[:8], "little")])["__metadata__"]
    low, high = "-100", "100"
    assert float(low) < float(header["own_score"]) < float(high)
    queries = [png(name, 9) for name in FIVE]
    known = []
    for own_score in ({}, {"own_score": low}, {"own_score": high}):
        back = imported(client, save(load(exported), metadata=header | own_score))
        assert back.status_code == 201, back.text
        known.append([answer["known"] for answer in predict(client, back.json()["task_id"], queries)])
    assert known[0] == pytest.approx([answer["known"] for answer in predict(client, made, queries)], abs=1e-3)
    for usual, lowest, highest in zip(*known, strict=True):
        assert lowest >= usual >= highest
    assert sum(known[1]) > sum(known[2])
    del header["own_score"]  # as a head that was written before: it goes by its cohesion alone
    before = [imported(client, save(load(exported), metadata=header)).json()["task_id"] for _ in range(2)]
    answers = [[answer["known"] for answer in predict(client, task, queries)] for task in before]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)
    assert sum(known[1]) >= sum(answers[0]) >= sum(known[2])
    single = client.get(f"/tasks/{create(client, FIVE).json()['task_id']}/parameters").content
    assert b'"own_score"' not in single


def test_files_that_are_not_exported_heads_are_refused_with_the_reason(client: httpx.Client) -> None:
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
        (b"", 422, "empty"),
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
        (altered({"own_score": "NaN"}), 422, "own_score"),
        (altered({"own_score": "1e9"}), 422, "own_score"),
        (altered({"own_score": "[" * 5000}), 422, "own_score"),
        (altered({"cohesion": "NaN"}), 422, "cohesion"),
        (altered({"cohesion": "1.01"}), 422, "cohesion"),
        (altered({"cohesion": "-1e999"}), 422, "cohesion"),
        (altered({"cohesion": "[" * 5000}), 422, "cohesion"),
        (altered({"cohesion": ""}), 422, "cohesion"),
        (altered({"adaptation": json.dumps(report | {"losses": [0.1] * 10_000})}), 422, "adaptation"),
        (altered({"labels": json.dumps(["", *FIVE[1:]])}), 422, "a label is empty"),
        (altered({"labels": json.dumps(["nul\0", *FIVE[1:]])}), 422, "control characters"),
        (altered({"labels": json.dumps(["esc\x1b[31m", *FIVE[1:]])}), 422, "U+001B ESCAPE"),
        (altered({"labels": '["\\ud800", "b", "c", "d", "e"]'}), 422, "U+D800"),
        (altered({"labels": json.dumps(["a" * 101, *FIVE[1:]])}), 422, "101 characters"),
        (altered({"labels": json.dumps(["a" * 20_000_000, *FIVE[1:]])}), 422, "header"),
        (altered({"shots": "[true,1,1,1,1]"}), 422, "shots"),
        (altered({"shots": "[999,1,1,1,1]"}), 422, "1003 examples"),
        (many_ways(1), 422, "at least 2 classes"),
        (many_ways(101), 422, "101 classes"),
        (exported.replace(b'"__metadata__":{', b'"__metadata__":nul', 1), 422, "not a safetensors file"),
        (without_metadata, 422, "metadata"),
        ((2**24).to_bytes(8, "little") + b"{" * 2**24, 422, "header"),
        (altered({"model_version": "older"}), 409, "older"),
    ]
    for data, status, said in cases:
        response = imported(client, data)
        assert response.status_code == status, (said, response.text)
        assert said in response.json()["detail"], response.text
