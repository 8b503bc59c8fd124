"""Options after the question mark: a misspelled or misplaced one is refused, since ignoring it changes the answer."""

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, create, files


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client, FIVE[:2]).json()["task_id"])


@pytest.mark.parametrize("option", ["treshold=0.6", "topk=3", "top_k=3&Threshold=0.6", "threshold[]=0.6", "=1"])
def test_a_prediction_refuses_options_that_it_does_not_know(client: httpx.Client, task_id: str, option: str) -> None:
    answer = client.post(f"/tasks/{task_id}/predict?{option}", json={"images": [""]})
    assert_problem(answer, 422, "Extra inputs are not permitted")


def test_a_prediction_refuses_an_option_that_is_given_twice(client: httpx.Client, task_id: str) -> None:
    answer = client.post(f"/tasks/{task_id}/predict?top_k=1&top_k=2", json={"images": [""]})
    assert_problem(answer, 422, "query.top_k is given more than once")


@pytest.mark.parametrize("option", ["lable=five", "page=2", "q=five"])
def test_a_list_refuses_filters_that_it_does_not_know(client: httpx.Client, option: str) -> None:
    assert_problem(client.get(f"/tasks?{option}"), 422, "Extra inputs are not permitted")
    assert client.get("/tasks?limit=5&name=five").status_code == 200


def test_options_of_a_body_are_refused_after_the_question_mark(client: httpx.Client, task_id: str) -> None:
    option = "ttl_seconds=60"
    body = {"data": {"labels": ["a", "b"]}, "files": files([png(name) for name in FIVE[:2]])}
    assert_problem(client.post(f"/tasks?{option}", **body), 422, "query.ttl_seconds", "body")
    assert_problem(client.patch(f"/tasks/{task_id}?{option}", json={}), 422, "query.ttl_seconds", "body")
    assert_problem(client.post(f"/tasks/{task_id}/support?{option}", json={}), 422, "query.ttl_seconds", "body")
    assert client.get(f"/tasks/{task_id}").json()["expires_at"] is None


@pytest.mark.parametrize("path", ["/tasks", "/readyz", "/metrics", "/nothing"])
def test_options_have_a_number(client: httpx.Client, path: str) -> None:
    many = "&".join(f"a{n}=1" for n in range(3000))
    assert_problem(client.get(f"{path}?{many}"), 422, "more than 64 options after the question mark")


def test_a_content_type_has_a_length(client: httpx.Client) -> None:
    kind = "multipart/form-data; " + "a=b;" * 5000
    answer = client.post("/tasks", content=b"", headers={"Content-Type": kind})
    assert_problem(answer, 422, "Content-Type is over 1000 bytes")
