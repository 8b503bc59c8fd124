"""Answers that somebody has judged, over real HTTP."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, create, files, predict

THREE = FIVE[:3]


def judge(client: httpx.Client, task_id: str, *answers: tuple[Any, ...]) -> httpx.Response:
    body = [dict(zip(("predicted", "label", "image"), each, strict=False)) for each in answers]
    return client.post(f"/tasks/{task_id}/feedback", json={"answers": body})


def base64_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


def test_judged_answers_are_counted(client: httpx.Client) -> None:
    made = create(client, THREE).json()
    task_id = made["task_id"]
    assert made["feedback"] == {"judged": 0, "right": 0}
    counted = judge(client, task_id, ("tee", "tee"), ("tee", " tee "), ("ell", "wave"))
    assert counted.status_code == 200, counted.text
    assert counted.json()["feedback"] == {"judged": 3, "right": 2}
    form = {"predicted": ["ring"], "labels": ["ring"]}
    again = client.post(f"/tasks/{task_id}/feedback", data=form, files=[("x", b"")][:0])
    assert again.status_code == 415  # urlencoded, as httpx sends a form without files
    parts = [("predicted", (None, "ring")), ("labels", (None, "ring"))]
    assert client.post(f"/tasks/{task_id}/feedback", files=parts).json()["feedback"] == {"judged": 4, "right": 3}
    found = client.get(f"/tasks/{task_id}").json()
    assert found["feedback"] == {"judged": 4, "right": 3}
    assert (found["labels"], found["shots"]) == (made["labels"], made["shots"])  # nothing was learned
    assert predict(client, task_id, [png("ring", 9)])[0]["label"] == "ring"
    listed = next(each for each in client.get("/tasks").json()["tasks"] if each["task_id"] == task_id)
    assert listed["feedback"] == found["feedback"]


def test_a_wrong_answer_teaches_by_its_picture(client: httpx.Client) -> None:
    task_id = create(client, THREE, shots=2).json()["task_id"]
    waves = [png("wave", seed) for seed in range(3)]
    answered = predict(client, task_id, waves[:2])
    wrong = [(each["label"], "wave", base64_of(wave)) for each, wave in zip(answered, waves, strict=False)]
    taught = judge(client, task_id, *wrong, ("tee", "tee")).json()
    assert taught["feedback"] == {"judged": 3, "right": 1}
    assert taught["shots"]["wave"] == 2
    assert predict(client, task_id, waves[2:])[0]["label"] == "wave"
    form = {"predicted": ["tee"], "labels": ["wave"]}
    more = client.post(f"/tasks/{task_id}/feedback", data=form, files=files([png("wave", 4)]))
    assert more.json()["shots"]["wave"] == 3
    assert more.json()["feedback"] == {"judged": 4, "right": 1}


def test_changes_of_the_examples_keep_the_counts(client: httpx.Client) -> None:
    task_id = create(client, THREE, shots=2).json()["task_id"]
    judge(client, task_id, ("tee", "tee"))
    assert client.delete(f"/tasks/{task_id}/support/0").json()["feedback"] == {"judged": 1, "right": 1}
    assert client.patch(f"/tasks/{task_id}", json={"name": "x"}).json()["feedback"] == {"judged": 1, "right": 1}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "answers"),
        ({"answers": []}, 422, "no answers"),
        ({"answers": [{"predicted": "tee"}]}, 422, "label"),
        ({"answers": [{"label": "tee"}]}, 422, "predicted"),
        ({"answers": [{"predicted": "tee", "label": ""}]}, 422, "empty"),
        ({"answers": [{"predicted": "\u202e", "label": "tee"}]}, 422, "U+202E"),
        ({"answers": [{"predicted": "tee", "label": "a" * 101}]}, 422, "101 characters"),
        ({"answers": [{"predicted": "tee", "label": "tee", "right": True}]}, 422, "right"),
        ({"answers": [{"predicted": "tee", "label": "tee", "image": "!"}]}, 422, "base64"),
        ({"answers": [{"predicted": "tee", "label": "tee", "image": "AAAA"}]}, 422, "image 0"),
        ({"answers": [{"predicted": "tee", "label": "tee"}] * 1001}, 422, "1001 answers"),
        ({"answers": [0] * 5000}, 422, "answers"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_counts_nothing(
    client: httpx.Client, body: object, status: int, said: str
) -> None:
    task_id = create(client, THREE).json()["task_id"]
    assert_problem(client.post(f"/tasks/{task_id}/feedback", json=body), status, said)
    assert client.get(f"/tasks/{task_id}").json()["feedback"]["judged"] == 0


def test_forms_must_fit_together(client: httpx.Client) -> None:
    path = f"/tasks/{create(client, THREE).json()['task_id']}/feedback"
    picture = files([png("tee")])
    for form in ({"predicted": ["tee"], "labels": ["tee", "ell"]}, {"labels": ["tee"]}, {"predicted": ["tee"]}, {}):
        assert_problem(client.post(path, data=form, files=picture), 422, "one of each")
    assert_problem(client.post(path, data={"predicted": "a", "labels": "a", "label": "a"}, files=picture), 422, "label")


def test_examples_that_were_not_kept_cannot_be_added_to_but_answers_are_counted(client: httpx.Client) -> None:
    task_id = create(client, THREE, keep_support="false").json()["task_id"]
    assert_problem(judge(client, task_id, ("tee", "ell", base64_of(png("ell")))), 409, "not kept")
    assert judge(client, task_id, ("tee", "ell")).json()["feedback"] == {"judged": 1, "right": 0}
    assert_problem(judge(client, "0" * 24, ("tee", "ell")), 404)


def test_judgements_at_once_are_each_counted_or_refused(client: httpx.Client) -> None:
    task_id = create(client, THREE).json()["task_id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: judge(client, task_id, ("tee", "tee" if n % 2 else "ell")), range(12)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    done = [n % 2 for n, answer in enumerate(answers) if answer.status_code == 200]
    found = client.get(f"/tasks/{task_id}").json()["feedback"]
    assert found == {"judged": len(done), "right": sum(done)}


def test_if_match_guards_counts_too(client: httpx.Client) -> None:
    task_id = create(client, THREE).json()["task_id"]
    path, body = f"/tasks/{task_id}/feedback", {"answers": [{"predicted": "tee", "label": "tee"}]}
    first = client.post(path, json=body, headers={"If-Match": '"0"'})
    assert first.headers["etag"] == '"1"'
    assert_problem(client.post(path, json=body, headers={"If-Match": '"0"'}), 412)
