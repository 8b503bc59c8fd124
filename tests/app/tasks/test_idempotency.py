"""`Idempotency-Key` over HTTP; the stores' own part is in tests/app/store."""

import base64
from collections.abc import Callable
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


ONCE = {"Idempotency-Key": "changed-once"}


@pytest.fixture
def task_id(client: httpx.Client) -> str:
    return str(client.post("/tasks", data={"labels": FIVE, "keep_images": "1"}, files=files(IMAGES)).json()["task_id"])


def add(client: httpx.Client, task_id: str, label: str = "new", **headers: str) -> httpx.Response:
    data, images = {"labels": [label]}, files([png("wave")])
    return client.post(f"/tasks/{task_id}/support", data=data, files=images, headers=ONCE | headers)


def judge(client: httpx.Client, task_id: str, label: str = "new", **headers: str) -> httpx.Response:
    data = {"predicted": ["ring"], "labels": [label]}
    path = f"/tasks/{task_id}/feedback"
    return client.post(path, data=data, files=files([png("wave")]), headers=ONCE | headers)


def judge_without_pictures(client: httpx.Client, task_id: str, label: str = "new", **headers: str) -> httpx.Response:
    answers = {"answers": [{"predicted": "ring", "label": label}]}
    return client.post(f"/tasks/{task_id}/feedback", json=answers, headers=ONCE | headers)


def relabel(client: httpx.Client, task_id: str, label: str = "new", **headers: str) -> httpx.Response:
    return client.patch(f"/tasks/{task_id}/support/0", json={"label": label}, headers=ONCE | headers)


def rename(client: httpx.Client, task_id: str, label: str = "new", **headers: str) -> httpx.Response:
    return client.patch(f"/tasks/{task_id}", json={"name": label}, headers=ONCE | headers)


CHANGES = [add, judge, judge_without_pictures, relabel, rename]
Change = Callable[..., httpx.Response]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_once_and_answered_again(client: httpx.Client, task_id: str, change: Change) -> None:
    headers = {"If-Match": '"0"', "Idempotency-Key": f"{change.__name__}-{task_id}"}
    first = change(client, task_id, **headers)
    assert first.status_code == 200, first.text
    client.patch(f"/tasks/{task_id}", json={"name": "changed meanwhile"})
    again = change(client, task_id, **headers)
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')  # the task as it is now
    now = {**first.json(), "name": "changed meanwhile", "revision": 2}
    assert {name: value for name, value in again.json().items() if now[name] != value} == {}
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 2
    assert_problem(change(client, task_id, "other", **headers), 422, "Idempotency-Key was used")
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 2


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_asked_for_many_times_at_once_is_made_once(client: httpx.Client, task_id: str, change: Change) -> None:
    headers = {"Idempotency-Key": f"at-once-{change.__name__}-{task_id}"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: change(client, task_id, **headers), range(8)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 1


def test_a_removal_is_answered_again(client: httpx.Client, task_id: str) -> None:
    add(client, task_id, "ring", **{"Idempotency-Key": f"one-more-{task_id}"})
    once = {"Idempotency-Key": f"remove-{task_id}"}
    first, again = (client.delete(f"/tasks/{task_id}/support/0", headers=once) for _ in range(2))
    assert first.status_code == 200, first.text
    assert again.json() == first.json()
    assert_problem(client.delete(f"/tasks/{task_id}/support/1", headers=once), 422, "Idempotency-Key was used")
    assert_problem(client.delete(f"/tasks/{task_id}/support/0"), 404)


def test_a_key_is_of_one_call_of_one_task(client: httpx.Client, task_id: str) -> None:
    once = {"Idempotency-Key": f"shared-{task_id}"}
    assert add(client, task_id, **once).status_code == 200
    other = client.post("/tasks", data={"labels": FIVE}, files=files(IMAGES)).json()["task_id"]
    for change in (judge, relabel, rename):
        assert_problem(change(client, task_id, **once), 422, "Idempotency-Key was used")
    assert_problem(add(client, other, **once), 422, "Idempotency-Key was used")
    assert_problem(create(client, once["Idempotency-Key"]), 422, "Idempotency-Key was used")
    assert client.delete(f"/tasks/{task_id}").status_code == 204
    assert add(client, other, **once).status_code == 200  # the key went with its task


@pytest.mark.parametrize("kind", ["parameters", "export.zip", "another model"])
def test_an_import_makes_one_task(client: httpx.Client, task_id: str, kind: str) -> None:
    data = client.get(f"/tasks/{task_id}/{'parameters' if kind == 'parameters' else 'export.zip'}").content
    params = {"model": "omniglot"} if kind == "another model" else {}
    once = {"Idempotency-Key": f"import-{task_id}"}
    with ThreadPoolExecutor(6) as pool:
        sent = pool.map(lambda _: client.post("/tasks/import", content=data, headers=once, params=params), range(6))
        answers = list(sent)
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["task_id"] != task_id
    other = client.post("/tasks/import", content=data, headers=once, params={**params, "name": "other"})
    assert_problem(other, 422, "Idempotency-Key was used")


def test_a_change_that_changes_nothing_is_remembered_too(client: httpx.Client, task_id: str) -> None:
    label = client.get(f"/tasks/{task_id}/support/0").json()["label"]
    once = {"Idempotency-Key": f"same-{task_id}"}
    first = relabel(client, task_id, label, **once)
    assert first.status_code == 200, first.text
    assert relabel(client, task_id, "other", **{"Idempotency-Key": f"other-{task_id}"}).status_code == 200
    assert relabel(client, task_id, label, **once).json() == client.get(f"/tasks/{task_id}").json()
    assert client.get(f"/tasks/{task_id}/support/0").json()["label"] == "other"
    assert_problem(relabel(client, task_id, "third", **once), 422, "Idempotency-Key was used")
