"""Examples of a task under hostile and hurried callers: with two workers, in SQLite and in Redis."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.http.keys import KeyFile, new_key, write_keys
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, add, create, files
from tests.helpers.two_workers import ask, two_workers


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with two_workers(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


def make(server: Server, shots: int) -> str:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return str(create(client, FIVE[:3], shots=shots).json()["task_id"])


def indices(server: Server, task_id: str) -> list[int]:
    answer = ask(server, "GET", f"/tasks/{task_id}/support")
    assert answer.status_code == 200, answer.text
    return [each["index"] for each in answer.json()["examples"]]


@pytest.mark.parametrize(
    ("index", "status"),
    [
        *[(index, 404) for index in ("9", "-1", str(2**31), str(2**63), str(2**64), "9" * 100)],
        *[(index, 422) for index in ("9" * 5000, "1.5", "one", "0x1", "NaN", "%00", "1%0A2")],
    ],
)
def test_numbers_of_no_example_are_refused_in_every_call(server: Server, index: str, status: int) -> None:
    task_id = make(server, 3)
    path = f"/tasks/{task_id}/support/{index}"
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"label": "x"})):
        assert_problem(ask(server, method, path, json=body), status)
    assert_problem(ask(server, "DELETE", f"/tasks/{task_id}/negatives/{index}"), status)


def test_callers_who_remove_the_same_example_at_once_remove_no_other(server: Server) -> None:
    task_id = make(server, 4)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(server, "DELETE", f"/tasks/{task_id}/support/5"), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 404, 409}
    assert indices(server, task_id) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_callers_who_remove_the_same_negative_at_once_remove_no_other(server: Server) -> None:
    task_id = make(server, 2)
    parts = [("negatives", (f"{n}.png", png("wave", n))) for n in range(4)]
    assert ask(server, "POST", f"/tasks/{task_id}/support", files=parts).status_code == 200
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(server, "DELETE", f"/tasks/{task_id}/negatives/1"), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 404, 409}
    assert ask(server, "GET", f"/tasks/{task_id}/negatives").json()["negatives"] == [0, 2, 3]


def test_of_callers_who_saw_the_same_revision_one_changes_the_task(server: Server) -> None:
    task_id = make(server, 4)
    tag = ask(server, "GET", f"/tasks/{task_id}").headers["etag"]

    def change(number: int) -> httpx.Response:
        path, headers = f"/tasks/{task_id}/support/{number}", {"If-Match": tag}
        if number % 2:
            return ask(server, "PATCH", path, json={"label": "another"}, headers=headers)
        return ask(server, "DELETE", path, headers=headers)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(change, range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
    assert ask(server, "GET", f"/tasks/{task_id}").json()["revision"] == 1


def test_changes_made_at_once_are_all_made_or_refused(server: Server) -> None:
    task_id = make(server, 5)

    def change(number: int) -> tuple[int, httpx.Response]:
        path = f"/tasks/{task_id}/support/{number}"
        if number % 3 == 0:
            return number, ask(server, "DELETE", path)
        if number % 3 == 1:
            return number, ask(server, "PATCH", path, json={"label": "relabelled"})
        with httpx.Client(base_url=server.url, timeout=60) as client:
            return number, add(client, task_id, [("added", png("wave", number))])

    with ThreadPoolExecutor(4) as pool:
        done = {number for number, answer in pool.map(change, range(12)) if answer.status_code == 200}
    task = ask(server, "GET", f"/tasks/{task_id}").json()
    listed = ask(server, "GET", f"/tasks/{task_id}/support").json()["examples"]
    by_kind = [sum(number % 3 == kind for number in done) for kind in range(3)]
    assert sum(by_kind) == task["revision"]
    assert len(listed) == sum(task["shots"].values()) == 15 - by_kind[0] + by_kind[2]
    assert task["shots"].get("relabelled", 0) == by_kind[1]
    assert task["shots"].get("added", 0) == by_kind[2]
    assert set(range(0, 12, 3)) - done == {each["index"] for each in listed} & {0, 3, 6, 9}


def test_changes_without_a_revision_are_made_in_any_case(server: Server) -> None:
    task_id = make(server, 8)

    def change(number: int) -> httpx.Response:
        if number % 4 == 0:
            return ask(server, "PATCH", f"/tasks/{task_id}", json={"name": f"name {number}"})
        if number % 4 == 1:
            return ask(server, "PATCH", f"/tasks/{task_id}/support/{number}", json={"label": "relabelled"})
        if number % 4 == 2:
            return ask(server, "GET", f"/tasks/{task_id}/export.zip")
        with httpx.Client(base_url=server.url, timeout=60) as client:
            return add(client, task_id, [("added", png("wave", number))])

    with ThreadPoolExecutor(24) as pool:
        assert {answer.status_code for answer in pool.map(change, range(24))} == {200}
    assert ask(server, "GET", f"/tasks/{task_id}").json()["revision"] == 18


def test_both_workers_answer_by_the_changed_task(server: Server) -> None:
    task_id = make(server, 2)
    ring = {"files": [("images", ("q", png("ring", 70), "image/png"))]}
    for _ in range(6):  # so that both workers have it cached
        assert ask(server, "POST", f"/tasks/{task_id}/predict", **ring).json()["predictions"][0]["label"] == "ring"
    for number in (4, 5):
        ask(server, "PATCH", f"/tasks/{task_id}/support/{number}", json={"label": "circle"})
    for _ in range(6):
        assert ask(server, "POST", f"/tasks/{task_id}/predict", **ring).json()["predictions"][0]["label"] == "circle"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"label": ""}, 422),
        ({"label": "\u202e"}, 422),
        ({"label": "a" * 101}, 422),
        ({"label": ["a"]}, 422),
        ({"label": "a", "index": 1}, 422),
        (["a"], 422),
        (None, 415),
    ],
)
def test_labels_obey_the_rules_of_creation(server: Server, body: object, status: int) -> None:
    task_id = make(server, 1)
    assert_problem(ask(server, "PATCH", f"/tasks/{task_id}/support/0", json=body), status)
    assert ask(server, "GET", f"/tasks/{task_id}").json()["revision"] == 0


@pytest.mark.parametrize("tag", ["0", "abc", '"0', '""0""', "W/0", ",", "\x01", '"0" "1"', '"é"'])
def test_a_precondition_that_cannot_be_read_changes_nothing(server: Server, tag: str) -> None:
    task_id = make(server, 2)
    answer = ask(server, "DELETE", f"/tasks/{task_id}/support/0", headers={"If-Match": tag.encode("latin-1")})
    assert answer.status_code in (400, 422), answer.text
    assert indices(server, task_id) == list(range(6))


@pytest.mark.parametrize("tag", ['"abc"', '"9999999999999999999"', '"-1"', '"00x"', 'W/"1"'])
def test_a_tag_of_something_else_matches_no_task(server: Server, tag: str) -> None:
    answer = ask(server, "DELETE", f"/tasks/{make(server, 2)}/support/0", headers={"If-Match": tag})
    assert_problem(answer, 412)


def test_examples_of_another_key_are_not_there(tmp_path: Path) -> None:
    keys, secrets = zip(
        *(new_key(name, owner, rights) for name, owner, rights in (
            ("ann", "ann", ["read", "write"]), ("reader", "ann", ["read"]), ("bob", "bob", ["read", "write"]),
        )),
        strict=True,
    )  # fmt: skip
    write_keys(tmp_path / "keys.json", KeyFile(keys=list(keys)))
    server = Server(tmp_path / "data", LEO_KEYS_FILE=str(tmp_path / "keys.json"), LEO_WORKERS="1")
    try:
        server.start()
        ann, reader, bob = (
            httpx.Client(base_url=server.url, headers={"X-API-Key": secret}, timeout=60) for secret in secrets
        )
        with ann, reader, bob:
            path = f"/tasks/{create(ann, FIVE[:3], shots=2).json()['task_id']}/support"
            first = f"{path}/0"
            for refused in (bob.get(path), bob.get(first), bob.delete(first), bob.patch(first, json={"label": "x"})):
                assert_problem(refused, 404, "no such task")
            labelled = {"data": {"labels": FIVE[0]}, "files": files([png(FIVE[0])])}
            evaluate = path.replace("support", "evaluate")
            assert_problem(bob.post(evaluate, **labelled), 404, "no such task")
            assert reader.post(evaluate, **labelled).status_code == 200
            assert len(reader.get(path).json()["examples"]) == 6
            feedback, judged = path.replace("support", "feedback"), {"answers": [{"predicted": "a", "label": "a"}]}
            assert_problem(bob.post(feedback, json=judged), 404, "no such task")
            assert_problem(reader.post(feedback, json=judged), 403, "write")
            assert_problem(reader.delete(f"{path}/0"), 403, "write")
            for whole in ("export.zip", "support/0/image"):
                assert_problem(bob.get(path.replace("support", whole)), 404, "no such task")
            assert_problem(reader.patch(f"{path}/0", json={"label": "x"}), 403, "write")
            assert ann.delete(f"{path}/0").status_code == 200
    finally:
        server.stop(signal.SIGTERM)
        server.close()


def test_examples_change_where_another_process_computes(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", LEO_DEVICE="process:cpu", LEO_WORKERS="1")
    try:
        server.start()
        task_id = make(server, 2)
        assert ask(server, "DELETE", f"/tasks/{task_id}/support/0").json()["shots"][FIVE[0]] == 1
        changed = ask(server, "PATCH", f"/tasks/{task_id}/support/1", json={"label": "other"}).json()
        assert changed["labels"] == [*FIVE[1:3], "other"]
        assert server.predict_ring(task_id).json()["predictions"][0]["label"] == "ring"
    finally:
        server.close()


def test_a_change_whose_caller_leaves_is_made_whole_or_not_at_all(server: Server) -> None:
    task_id = make(server, 4)
    for number in range(6):
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as leaver:
            leaver.sendall(f"DELETE /tasks/{task_id}/support/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    last = ask(server, "DELETE", f"/tasks/{task_id}/support/11")
    while last.status_code == 409:  # others keep changing it
        last = ask(server, "DELETE", f"/tasks/{task_id}/support/11")
    assert last.status_code == 200
    listed = ask(server, "GET", f"/tasks/{task_id}/support").json()
    task = ask(server, "GET", f"/tasks/{task_id}").json()
    if listed["revision"] == task["revision"]:  # else one of those that left is being served still
        assert len(listed["examples"]) == sum(task["shots"].values()) == 12 - task["revision"]
    assert {each["index"] for each in listed["examples"]} >= {6, 7, 8, 9, 10}
