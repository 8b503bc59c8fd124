"""Text that is not UTF-8 is said to be so at every door, and what is UTF-8 is read as it was meant."""

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, create
from tests.helpers.zips import zip_of

LATIN = "étiquette".encode("latin-1")
FORM = {"content-type": "multipart/form-data; boundary=x"}


def field(name: str, data: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), data)


def picture(name: str) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    return head + png(name) + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client).json()["task_id"])


@pytest.mark.parametrize("call", ["", "/{}/support", "/{}/evaluate", "/{}/feedback"])
def test_a_label_that_is_not_utf8_is_named_by_its_place(client: httpx.Client, task_id: str, call: str) -> None:
    pictures, labels = picture("ring") + picture("tee"), field("labels", b"ring") + field("labels", LATIN)
    predicted = 2 * field("predicted", b"ring") if "feedback" in call else b""
    body = form(pictures, labels, predicted)
    refused = client.post(f"/tasks{call.format(task_id)}", content=body, headers=FORM)
    problem = assert_problem(refused, 422, "'labels' is not UTF-8", "0xE9")
    assert problem["index"] == 1


def test_an_option_that_is_not_utf8_is_named(client: httpx.Client, task_id: str) -> None:
    examples = picture("ring") + picture("tee") + field("labels", b"a") + field("labels", b"b")
    body = form(examples, field("name", LATIN))
    assert_problem(client.post("/tasks", content=body, headers=FORM), 422, "'name' is not UTF-8")
    body = form(field("predicted", LATIN), field("labels", b"ring"))
    answer = client.post(f"/tasks/{task_id}/feedback", content=body, headers=FORM)
    assert_problem(answer, 422, "'predicted' is not UTF-8")


@pytest.mark.parametrize("query", ["name=%e9tiquette", "name=%C3%28", "name=%ED%A0%80", "%ff=1"])
def test_a_query_that_is_not_utf8_is_said_to_be_so(client: httpx.Client, task_id: str, query: str) -> None:
    """Else every wrong byte would become a question mark in a box, and two names could not be told apart."""
    zipped = {"content": zip_of({"a/1.png": png("ring"), "b/1.png": png("ex")})}
    zipped_head = {"headers": {"Content-Type": "application/zip"}}
    head = client.get(f"/tasks/{task_id}/parameters").content
    for answer in (
        client.post(f"/tasks?{query}", **zipped, **zipped_head),
        client.post(f"/tasks/import?{query}", content=head),
        client.get(f"/tasks?{query}"),
        client.post(f"/tasks/{task_id}/predict?{query}", files={"images": png("ring")}),
    ):
        assert_problem(answer, 422, "not UTF-8")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x08\x08\x12\x07pytorch" + bytes(100), "an ONNX graph"),
        (b'{"labels": ["a", "b"]}', "JSON"),
        (b"\x80\x02}q\x00" + bytes(100), "a pickle"),
        (png("ring"), "a picture"),
        (b"<html></html>", "a web page"),
        (b"x" * 100, "another kind"),
    ],
)
def test_what_is_no_exported_task_is_called_by_its_kind(client: httpx.Client, body: bytes, said: str) -> None:
    problem = assert_problem(client.post("/tasks/import", content=body), 422, said, "/parameters", "/export.zip")
    assert "bytes" not in problem["detail"]  # such as a length that was read out of another format


def test_an_exported_graph_is_called_so(client: httpx.Client) -> None:
    made = create(client, FIVE[:2]).json()["task_id"]
    graph = client.get(f"/tasks/{made}/export.onnx").content
    assert_problem(client.post("/tasks/import", content=graph), 422, "an ONNX graph")
