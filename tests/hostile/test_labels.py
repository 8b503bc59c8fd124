"""Labels and names are spelled the same at every door, and a refusal names the character."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from safetensors.numpy import load, save

from app.tasks import creating
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, add, create, create_from, predict

PERSIAN, SINHALA, FAMILY = "می\u200cرود", "ශ්\u200dරී", "👩\u200d👩\u200d👧"
UNLIKE_A_LABEL = {
    "a\0b": "U+0000 NULL",
    "a\x1b[31m": "U+001B ESCAPE",
    "a\u202eb": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "a\u2028b": "U+2028 LINE SEPARATOR",
    "\u200d": "empty",
    "\u3164 ": "empty",
}


def create_with_json(client: httpx.Client, labels: Sequence[str], **options: Any) -> httpx.Response:
    support = [
        {"image": b64encode(png(name)).decode(), "label": label} for name, label in zip(FIVE, labels, strict=False)
    ]
    return client.post("/tasks", json={"support": support, **options})


def with_labels(exported: bytes, labels: Sequence[str]) -> bytes:
    """An exported head under other labels."""
    header = json.loads(exported[8 : 8 + int.from_bytes(exported[:8], "little")])["__metadata__"]
    return save(load(exported), metadata=header | {"labels": json.dumps(list(labels))})


@pytest.fixture(scope="module")
def exported(client: httpx.Client) -> bytes:
    """The head of a task with two classes."""
    return client.get(f"/tasks/{create(client, FIVE[:2]).json()['task_id']}/parameters").content


@pytest.mark.parametrize("label", [PERSIAN, SINHALA, FAMILY, "東京\u3000駅", "prix\u00a0: 5", "❤\ufe0f\u200d🔥"])
def test_spelling_is_taken_at_every_door(client: httpx.Client, exported: bytes, label: str) -> None:
    labels = [label, "other"]
    task = create_from(client, [(each, png(name)) for each, name in zip(labels, FIVE, strict=False)], name=label).json()
    assert (task["labels"], task["name"]) == (labels, label)
    assert create_with_json(client, labels).json()["labels"] == labels
    assert client.post("/tasks/import", content=with_labels(exported, labels)).json()["labels"] == labels
    grown = add(client, task["task_id"], [(label, png("ring", 3))]).json()
    assert grown["shots"] == {label: 2, "other": 1}
    assert client.patch(f"/tasks/{task['task_id']}", json={"name": f" {label} "}).json()["name"] == label
    assert client.get("/tasks", params={"label": f" {label}"}).json()["tasks"]
    assert predict(client, task["task_id"], [png("ring", 4)])[0]["label"] in labels


@pytest.mark.parametrize("label", UNLIKE_A_LABEL)
def test_a_refusal_names_the_character_at_every_door(client: httpx.Client, exported: bytes, label: str) -> None:
    said = UNLIKE_A_LABEL[label]
    task_id = create(client, FIVE[:2]).json()["task_id"]
    pairs = [(label, png("ring")), ("other", png("tee"))]
    assert_problem(create_from(client, pairs), 422, "label", said)
    assert_problem(create_with_json(client, [label, "other"]), 422, "label", said)
    assert_problem(create_with_json(client, ["a", "b"], name=label), 422, "name", said)
    assert_problem(client.post("/tasks/import", content=with_labels(exported, [label, "b"])), 422, "label", said)
    assert_problem(client.post("/tasks/import", content=exported, params={"name": label}), 422, "name", said)
    assert_problem(add(client, task_id, pairs), 422, "label", said)
    assert_problem(client.patch(f"/tasks/{task_id}", json={"name": label}), 422, "name", said)


def test_lone_surrogates_are_a_422_at_every_door(client: httpx.Client, exported: bytes) -> None:
    task_id = create(client, FIVE[:2]).json()["task_id"]
    half = b'"\\ud800"'
    picture = b'"' + b64encode(png("ring")) + b'"'
    headers = {"content-type": "application/json"}
    support = b'{"support": [{"image": %s, "label": %s}, {"image": %s, "label": "b"}]}' % (picture, half, picture)
    for path in ("/tasks", f"/tasks/{task_id}/support"):
        assert_problem(client.post(path, content=support, headers=headers), 422)
    for change in (b'{"name": %s}' % half, b"{%s: 1}" % half):
        assert_problem(client.patch(f"/tasks/{task_id}", content=change, headers=headers), 422)
    header = json.loads(exported[8 : 8 + int.from_bytes(exported[:8], "little")])["__metadata__"]
    for key in ("labels", "shots", "adaptation"):
        data = save(load(exported), metadata=header | {key: '["\\ud800", "b"]'})
        assert_problem(client.post("/tasks/import", content=data), 422)


def test_labels_that_look_the_same_are_one_class(client: httpx.Client, exported: bytes) -> None:
    alike = ["café", "cafe\u0301", " café\u00a0", "café\u200d"]
    pairs = [(label, png("ring", seed)) for seed, label in enumerate(alike)]
    assert_problem(create_from(client, pairs), 422, "at least 2 classes")
    task = create_from(client, [*pairs, ("other", png("tee"))]).json()
    assert task["shots"] == {"café": 4, "other": 1}
    assert add(client, task["task_id"], pairs).json()["shots"] == {"café": 8, "other": 1}
    assert_problem(client.post("/tasks/import", content=with_labels(exported, alike[:2])), 422, "must differ")


def test_classes_of_tasks_from_before_labels_were_normalised_are_found(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(creating, "spell_labels", lambda labels, *_, **__: list(labels))
        old = create_from(client, [("cat ", png("ring")), ("cafe\u0301", png("tee"))]).json()
    assert old["labels"] == ["cat ", "cafe\u0301"]
    grown = add(client, old["task_id"], [("cat", png("ring", 2)), ("café", png("tee", 2)), ("new", png("ell"))]).json()
    assert grown["shots"] == {"cat ": 2, "cafe\u0301": 2, "new": 1}
    exported = client.get(f"/tasks/{old['task_id']}/parameters").content
    assert client.post("/tasks/import", content=exported).json()["labels"] == ["cat", "café", "new"]


def test_a_repeated_creation_may_spell_its_labels_otherwise(client: httpx.Client) -> None:
    once = {"Idempotency-Key": "spelled-otherwise"}
    support = [{"image": b64encode(png(name)).decode(), "label": name} for name in FIVE[:2]]
    first = client.post("/tasks", json={"support": support, "name": "café"}, headers=once)
    support[0]["label"] += "\u00a0"
    second = client.post("/tasks", json={"support": support, "name": "cafe\u0301 "}, headers=once)
    assert (first.status_code, second.json()) == (201, first.json())


@pytest.mark.parametrize("alike", ["ab\u3164", "a\u115fb", "a\uffa0b", "a\u034fb", "a\u17b4b", "a\u180bb", "ab\ufe0f"])
def test_characters_that_nobody_sees_make_no_second_class(client: httpx.Client, alike: str) -> None:
    task = create_from(client, [("ab", png("ring")), (alike, png("ring", 1)), ("other", png("tee"))]).json()
    assert task["shots"] == {"ab": 2, "other": 1}
