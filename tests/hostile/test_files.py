"""Each hostile file gets its documented answer, and other requests theirs."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.hostile_files import Hostile, hostile_files
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import create, files, predict

FILES = hostile_files()


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client, ["tee", "ring", "ex", "vee"]).json()["task_id"])


def check(response: httpx.Response, file: Hostile) -> None:
    if file.refused is None:
        assert response.status_code == 200, response.text
        assert response.json()["predictions"][1]["label"] == file.taken_for
    else:
        assert assert_problem(response, 422, "image 1 ", file.refused)["index"] == 1


@pytest.mark.parametrize("name", FILES)
def test_each_hostile_file_gets_its_documented_answer(client: httpx.Client, task_id: str, name: str) -> None:
    images = [png("tee", 4), FILES[name].data]
    check(client.post(f"/tasks/{task_id}/predict", files=files(images)), FILES[name])
    created = client.post("/tasks", data={"labels": ["a", "b"]}, files=files(images))
    assert created.status_code == (201 if FILES[name].refused is None else 422)


def test_other_requests_get_their_answers_meanwhile(client: httpx.Client, task_id: str) -> None:
    def hostile(name: str) -> None:
        check(client.post(f"/tasks/{task_id}/predict", files=files([png("tee", 4), FILES[name].data])), FILES[name])

    def neighbour(_: int) -> str:
        return str(predict(client, task_id, [png("ex", 5)])[0]["label"])

    with ThreadPoolExecutor(8) as pool:
        attacks = [pool.submit(hostile, name) for name in FILES]
        assert set(pool.map(neighbour, range(40))) == {"ex"}
        for attack in attacks:
            attack.result()


def test_the_documentation_names_each_hostile_file() -> None:
    written = (PROJECT / "docs" / "operations.md").read_text()
    for name, file in FILES.items():
        (row,) = (line for line in written.splitlines() if line.startswith(f"| `{name}` |"))
        assert ("422" in row) == (file.refused is not None), row
