"""`Idempotency-Key` over HTTP; the stores' own part is in tests/app/store."""

import base64
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, files

IMAGES = [png(name) for name in FIVE]


def create(client: httpx.Client, key: str, images: list[bytes] = IMAGES, **options: str) -> httpx.Response:
    data = {"labels": FIVE, **options}
    return client.post("/tasks", data=data, files=files(images), headers={"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_first_answer_again(client: httpx.Client) -> None:
    first, second = create(client, "again"), create(client, "again")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()  # milliseconds included
    assert second.headers["location"] == first.headers["location"]
    as_json = {
        "support": [
            {"image": base64.b64encode(image).decode(), "label": label}
            for image, label in zip(IMAGES, FIVE, strict=True)
        ]
    }
    third = client.post("/tasks", json=as_json, headers={"Idempotency-Key": "again"})
    assert third.json() == first.json()  # how a body is encoded makes no difference
    assert create(client, "another").json()["task_id"] != first.json()["task_id"]


def test_another_body_under_the_same_key_is_refused(client: httpx.Client) -> None:
    assert create(client, "other body").status_code == 422  # a blank in the key
    assert create(client, "other-body").status_code == 201
    assert_problem(create(client, "other-body", IMAGES[::-1]), 422, "Idempotency-Key was used")
    assert_problem(create(client, "other-body", name="x"), 422, "Idempotency-Key was used")
    assert_problem(create(client, "k" * 256), 422, "dempotency")


def test_the_key_is_free_again_when_its_task_is_deleted(client: httpx.Client) -> None:
    first = create(client, "deleted").json()["task_id"]
    assert client.delete(f"/tasks/{first}").status_code == 204
    again = create(client, "deleted", IMAGES[::-1])
    assert again.status_code == 201
    assert again.json()["task_id"] != first


@pytest.mark.parametrize("attempt", range(3))
def test_duplicates_at_once_make_one_task(client: httpx.Client, attempt: int) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: create(client, f"at-once-{attempt}", name=f"n{attempt}"), range(12)))
    assert {answer.status_code for answer in answers} == {201}
    (task_id,) = {answer.json()["task_id"] for answer in answers}
    assert len({answer.text for answer in answers}) == 1
    query = client.post(f"/tasks/{task_id}/predict", files=files([png("ring", 7)]))
    assert query.json()["predictions"][0]["label"] == "ring"
    listed = client.get("/tasks", params={"limit": 100}).json()["tasks"]
    assert [task["name"] for task in listed].count(f"n{attempt}") == 1
