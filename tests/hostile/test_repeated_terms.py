"""What is said twice, or is a condition that the service does not know, is refused and never half heeded."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.tasks import FIVE, create


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client, FIVE[:3]).json()["task_id"])


def refused(response: httpx.Response, words: str) -> None:
    assert response.status_code == 422, response.text
    assert words in response.json()["detail"]


@pytest.mark.parametrize(
    ("name", "values"),
    [("If-Match", ('"0"', '"1"')), ("If-Match", ('"0"', '"0"')), ("Idempotency-Key", ("one", "two"))],
)
def test_a_header_that_is_given_twice_is_refused(
    client: httpx.Client, task_id: str, name: str, values: tuple[str, str]
) -> None:
    headers = [(name, value) for value in values]
    for call in (
        lambda: client.patch(f"/tasks/{task_id}", json={"name": "other"}, headers=headers),
        lambda: client.delete(f"/tasks/{task_id}", headers=headers),
        lambda: client.delete(f"/tasks/{task_id}/support/0", headers=headers),
    ):
        refused(call(), f"the header {name} is given more than once")
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 0


def test_a_creation_with_two_names_is_refused(client: httpx.Client) -> None:
    before = client.get("/tasks").json()
    content = {"support": [{"image": base64.b64encode(png(name)).decode(), "label": name} for name in FIVE[:2]]}
    headers = [("Idempotency-Key", "one"), ("idempotency-key", "two")]
    refused(client.post("/tasks", json=content, headers=headers), "Idempotency-Key")
    assert client.get("/tasks").json() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-None-Match", "*"),
        ("If-None-Match", '"0"'),
        ("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
)
def test_a_condition_that_the_service_does_not_know_is_refused(
    client: httpx.Client, task_id: str, name: str, value: str
) -> None:
    headers = {name: value}
    refused(client.patch(f"/tasks/{task_id}", json={"name": "other"}, headers=headers), "send If-Match")
    refused(client.delete(f"/tasks/{task_id}", headers=headers), name)
    assert client.get(f"/tasks/{task_id}", headers=headers).json()["revision"] == 0


def twice(members: dict[str, Any], name: str, value: Any) -> str:
    """JSON in which a member stands twice."""
    return json.dumps(members)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"


def test_a_name_that_stands_twice_in_json_is_refused(client: httpx.Client, task_id: str) -> None:
    ring, before = base64.b64encode(png("ring")).decode(), client.get("/tasks").json()
    made = {"support": [{"image": ring, "label": label} for label in ("a", "b")]}
    two_labels = json.dumps(made).replace('"label": "b"', '"label": "b", "label": "c"')
    kind = {"Content-Type": "application/json"}
    for method, path, content, name in (
        ("PATCH", f"/tasks/{task_id}", '{"name": "x", "name": "y"}', "name"),
        ("PATCH", f"/tasks/{task_id}", '{"name": "x", "n\\u0061me": "y"}', "name"),
        ("POST", f"/tasks/{task_id}/predict", twice({"images": [ring]}, "images", [ring]), "images"),
        ("POST", "/tasks", twice(made, "support", made["support"]), "support"),
        ("POST", "/tasks", two_labels, "label"),
        ("POST", f"/tasks/{task_id}/support", two_labels, "label"),
        ("POST", "/tasks", "\ufeff" + twice(made | {"name": "x"}, "name", "y"), "name"),
        ("PATCH", f"/tasks/{task_id}/support/0", '{"label": "ring", "label": "ex"}', "label"),
    ):
        response = client.request(method, path, content=content.encode(), headers=kind)
        refused(response, f"{name!r} is given more than once")
    assert client.get("/tasks").json() == before
