"""The OpenAPI document says what the service does, in a form that generators of clients can use."""

import re
from typing import Any

import httpx
import pytest

from tests.helpers.tasks import create

METHODS = ("get", "post", "patch", "put", "delete")


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_document_is_written_once_and_need_not_be_sent_again(client: httpx.Client) -> None:
    first = client.get("/openapi.json")
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/openapi.json", headers={"If-None-Match": '"other"'}).content == first.content


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def test_operations_have_short_names_of_their_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for *_, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"create_task", "predict", "list_tasks", "get_task", "update_task", "delete_task", "add_support"} <= set(ids)
    for each in ids:
        assert re.fullmatch(r"[a-z]+(_[a-z]+){0,2}", each), each
        assert not re.search(r"_(get|post|patch|put|delete)$", each), each


def test_operations_and_tags_are_described(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"].endswith(".")}
    for *_, operation in operations(document):
        assert operation["summary"]
        assert set(operation["tags"]) <= described
    assert described == {tag for *_, operation in operations(document) for tag in operation["tags"]}


def test_every_error_is_a_problem_document_with_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        errors = {int(status): each for status, each in operation["responses"].items() if int(status) >= 400}
        for status, response in errors.items():
            ((kind, content),) = response["content"].items()
            assert kind == "application/problem+json", (method, path, status)
            assert content["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
            assert content["example"]["status"] == status
            assert ("Retry-After" in response["headers"]) == (status in (429, 503))
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_answer_declares_the_headers_it_has(client: httpx.Client, document: dict[str, Any]) -> None:
    example = document["components"]["schemas"]["CreateTask"]["examples"][0]
    created = client.post("/tasks", json=example)
    task = f"/tasks/{created.json()['task_id']}"
    ring = document["components"]["schemas"]["PredictImages"]["examples"][0]
    answers = {
        ("post", "/tasks"): created,
        ("get", "/tasks"): client.get("/tasks"),
        ("get", "/tasks/{task_id}"): client.get(task),
        ("patch", "/tasks/{task_id}"): client.patch(task, json={"name": "x"}),
        ("get", "/tasks/{task_id}/parameters"): client.get(f"{task}/parameters"),
        ("get", "/tasks/{task_id}/support"): client.get(f"{task}/support"),
        ("get", "/models"): client.get("/models"),
        ("get", "/readyz"): client.get("/readyz"),
        ("post", "/tasks/{task_id}/predict"): client.post(f"{task}/predict", json=ring),
        ("delete", "/tasks/{task_id}"): client.delete(task),
    }
    assert answers["post", "/tasks/{task_id}/predict"].json()["predictions"][0]["label"] == "ring"
    general = {"content-type", "content-length", "date", "server", "cache-control", "content-disposition"}
    general |= {"x-content-type-options", "referrer-policy", "content-security-policy"}
    refused = [
        ("get", "/tasks/{task_id}", client.get(task)),
        ("post", "/tasks/{task_id}/predict", client.post(f"{task}/predict", json=ring)),
        ("post", "/tasks", client.post("/tasks", json={})),
    ]
    assert [response.status_code for *_, response in refused] == [404, 404, 422]
    for method, path, response in [*((*of, answer) for of, answer in answers.items()), *refused]:
        declared = document["paths"][path][method]["responses"][str(response.status_code)]
        names = {name.lower() for name in declared["headers"]}
        assert set(response.headers) - general <= names, (method, path)
        assert "x-request-id" in response.headers
    for name in ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID", "ETag", "Location"):
        assert document["components"]["headers"][name]["description"]


def test_documented_examples_can_be_sent_as_they_are(client: httpx.Client, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    task = client.post("/tasks", json=schemas["CreateTask"]["examples"][0]).json()
    assert task["labels"] == ["ring", "cross"]
    added = client.post(f"/tasks/{task['task_id']}/support", json=schemas["LabelledImages"]["examples"][0])
    assert added.json()["shots"]["ring"] == 2


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/tasks", "GET, HEAD, POST"),
        ("DELETE", "/tasks", "GET, HEAD, POST"),
        ("POST", "/tasks/abc", "DELETE, GET, HEAD, PATCH"),
        ("PUT", "/tasks/abc/support", "GET, HEAD, POST"),
        ("POST", "/tasks/abc/support/1", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/tasks/abc/predict", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/page/main.js", "GET, HEAD"),
        ("OPTIONS", "/models", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_allowed_is_told_which_are(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert response.headers["content-type"] == "application/problem+json"


def test_whatever_is_asked_of_a_task_without_examples_has_a_documented_answer(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    """Many calls need examples that a task has not kept: their 409 is easily forgotten."""
    answered = 0
    for method, path, operation in operations(document):
        if "{task_id}" not in path:
            continue
        task = create(client, keep_support="false").json()["task_id"]
        answer = client.request(method, path.replace("{task_id}", task).replace("{index}", "0"))
        assert str(answer.status_code) in operation["responses"], (method, path, answer.text)
        answered += 1
    assert answered > 10
