"""A task's name and lifetime change; tasks are listed by what they are. Over real HTTP."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, create, predict


def test_a_task_is_renamed_and_lives_longer_or_for_ever(client: httpx.Client) -> None:
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


def test_tasks_are_listed_by_name_label_and_model(settings: Settings, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("wrong", [True, False])
def test_boolean_is_no_number_of_seconds(client: httpx.Client, wrong: bool) -> None:
    task = create(client, ttl_seconds="60").json()
    assert task["expires_at"]  # a form field is text
    url = f"/tasks/{task['task_id']}"
    assert_problem(client.patch(url, json={"ttl_seconds": wrong}), 422, "ttl_seconds: Input should be a valid integer")
    assert client.get(url).json()["expires_at"] == task["expires_at"]
    support = [{"image": base64.b64encode(png(name, 0)).decode(), "label": name} for name in FIVE[:2]]
    answer = client.post("/tasks", json={"support": support, "ttl_seconds": wrong})
    assert_problem(answer, 422, "ttl_seconds: Input should be a valid integer")
    assert client.post("/tasks", json={"support": support, "ttl_seconds": 60}).status_code == 201
    for seconds, status in ((0, 422), (120, 200), (None, 200)):
        assert client.patch(url, json={"ttl_seconds": seconds}).status_code == status
