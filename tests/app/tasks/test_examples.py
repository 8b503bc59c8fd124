"""The examples of a task, one by one: listed, removed and relabelled, over real HTTP."""

from typing import Any

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, add, create, create_from, predict

THREE = FIVE[:3]


def listed(client: httpx.Client, task_id: str) -> list[dict[str, Any]]:
    response = client.get(f"/tasks/{task_id}/support")
    assert response.status_code == 200, response.text
    examples: list[dict[str, Any]] = response.json()["examples"]
    return examples


def labels_by_index(client: httpx.Client, task_id: str) -> dict[int, str]:
    return {each["index"]: each["label"] for each in listed(client, task_id)}


def test_examples_are_listed_as_the_quality_report_judges_them(client: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in THREE for seed in range(3)]
    pairs[4] = (pairs[4][0], png(FIVE[0], 9))  # mislabelled
    task = create_from(client, pairs).json()
    found = listed(client, task["task_id"])
    assert [(each["index"], each["label"]) for each in found] == list(enumerate(label for label, _ in pairs))
    suspects = {each["index"]: each["looks_like"] for each in task["quality"]["suspects"]}
    assert {each["index"]: each["nearest"] for each in found if each["suspect"]} == suspects == {4: FIVE[0]}
    one = client.get(f"/tasks/{task['task_id']}/support/4")
    assert one.json() == found[4]
    assert one.headers["etag"] == '"0"'


def test_without_a_removed_example_a_task_is_as_if_it_had_never_been_sent(each_model: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in THREE for seed in range(2)]
    task_id = create_from(each_model, [*pairs[:2], ("ell", png("ex")), *pairs[2:]]).json()["task_id"]
    removed = each_model.delete(f"/tasks/{task_id}/support/2")
    assert removed.status_code == 200, removed.text
    assert removed.json() == each_model.get(f"/tasks/{task_id}").json()
    assert (removed.json()["revision"], removed.headers["etag"]) == (1, '"1"')
    expected = create_from(each_model, pairs).json()
    assert removed.json()["shots"] == expected["shots"]
    queries = [png(name, 30) for name in THREE]
    answers = (predict(each_model, each, queries) for each in (task_id, expected["task_id"]))
    for one, other in zip(*answers, strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=5e-3)  # what is kept is float16


def test_numbers_stay_and_are_never_given_again(client: httpx.Client) -> None:
    task_id = create(client, THREE, shots=2).json()["task_id"]
    for number in (5, 1):
        assert client.delete(f"/tasks/{task_id}/support/{number}").status_code == 200
    assert list(labels_by_index(client, task_id)) == [0, 2, 3, 4]
    grown = add(client, task_id, [("wave", png("wave")), ("ring", png("ring", 3))]).json()
    kept = {0: "tee", 2: "ell", 3: "ell", 4: "ring"}
    assert labels_by_index(client, task_id) == kept | {6: "wave", 7: "ring"}
    assert grown["shots"] == {"tee": 1, "ell": 2, "ring": 2, "wave": 1}
    for gone in (1, 5):
        assert_problem(client.delete(f"/tasks/{task_id}/support/{gone}"), 404, "no such example")


def test_suspects_are_named_by_the_numbers_that_examples_keep(client: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in THREE for seed in range(3)]
    task_id = create_from(client, [*pairs, ("tee", png("ring", 5))]).json()["task_id"]
    changed = client.delete(f"/tasks/{task_id}/support/0").json()
    assert [each["index"] for each in changed["quality"]["suspects"]] == [9]


def test_a_relabelled_example_counts_for_its_new_class(each_model: httpx.Client) -> None:
    pairs = [(name, png(name, seed)) for name in THREE for seed in range(3)]
    wrong = [*pairs, ("tee", png("ring", 5))]
    task_id = create_from(each_model, wrong).json()["task_id"]
    changed = each_model.patch(f"/tasks/{task_id}/support/9", json={"label": " ring "})
    assert changed.status_code == 200, changed.text
    assert changed.json()["shots"] == {"tee": 3, "ell": 3, "ring": 4}
    assert changed.json()["quality"]["suspects"] == []
    again = each_model.patch(f"/tasks/{task_id}/support/9", json={"label": "ring"}).json()
    assert again == changed.json()  # nothing to change, so not even the revision did


def test_classes_come_and_go_with_their_examples(client: httpx.Client) -> None:
    task_id = create(client, THREE).json()["task_id"]
    new = client.patch(f"/tasks/{task_id}/support/0", json={"label": "new"}).json()
    assert new["labels"] == ["ell", "ring", "new"]
    assert client.delete(f"/tasks/{task_id}/support/1").json()["labels"] == ["ring", "new"]
    assert {each["label"] for each in predict(client, task_id, [png("tee", 4)])} == {"new"}
    for refused in (
        client.delete(f"/tasks/{task_id}/support/2"),
        client.patch(f"/tasks/{task_id}/support/2", json={"label": "new"}),
    ):
        assert_problem(refused, 422, "at least 2 classes")
    assert labels_by_index(client, task_id) == {0: "new", 2: "ring"}


def test_a_change_is_made_only_to_the_task_that_its_caller_saw(client: httpx.Client) -> None:
    created = create(client, THREE, shots=3)
    task_id, tag = created.json()["task_id"], created.headers["etag"]
    path = f"/tasks/{task_id}/support"
    assert client.get(path).headers["etag"] == tag
    first = client.delete(f"{path}/0", headers={"If-Match": tag})
    assert first.status_code == 200
    for refused in (
        client.delete(f"{path}/1", headers={"If-Match": tag}),
        client.patch(f"{path}/1", headers={"If-Match": tag}, json={"label": "ell"}),
        client.patch(f"/tasks/{task_id}", headers={"If-Match": tag}, json={"name": "x"}),
        client.delete(f"/tasks/{task_id}", headers={"If-Match": tag}),
        client.post(path, headers={"If-Match": tag}, json={"support": [{"label": "x", "image": ""}]}),
    ):
        assert_problem(refused, 412, "revision is 1")
    weakened = f'"7", W/{first.headers["etag"]}'  # as a gateway that compresses makes it
    assert client.delete(f"{path}/1", headers={"If-Match": weakened}).status_code == 200
    assert client.delete(f"{path}/3", headers={"If-Match": "*"}).status_code == 200
    assert client.delete(f"{path}/4").json()["revision"] == 4
    assert list(labels_by_index(client, task_id)) == [2, 5, 6, 7, 8]


def test_examples_that_were_not_kept_cannot_be_listed_or_changed(client: httpx.Client) -> None:
    path = f"/tasks/{create(client, THREE, keep_support='false').json()['task_id']}/support"
    for refused in (client.get(path), client.get(f"{path}/0"), client.delete(f"{path}/0")):
        assert_problem(refused, 409, "not kept")
