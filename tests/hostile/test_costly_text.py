"""Text that would take long to read: it is refused, or read in a time that grows with its length only.

The bodies here are those that once took minutes, during which a worker answered nobody.
"""

import itertools
import json
import string
import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest

from app.tasks.spelling import spell
from model.data.archive import _unicode_path
from model.data.unicode import compose
from tests.helpers.problems import assert_problem

MARKS = "a" + "\u0315\u0300" * 250_000  # sorted by Unicode's normalisation in quadratic time
MARKS_IN_TWO = "a" + "\u0f73" * 250_000  # each of which is taken apart into two marks
BLANKS = " \u200b" * 500_000
LONG = 30.0  # seconds; reading such a text takes a tenth of one


def doors(text: str) -> Iterator[tuple[str, str, object]]:
    """Every call that takes a label or a name."""
    yield "PATCH", "/tasks/x/support/0", {"label": text}
    yield "PATCH", "/tasks/x", {"name": text}
    yield "POST", "/tasks", {"support": [{"image": "", "label": text}, {"image": "", "label": "b"}]}
    yield "POST", "/tasks", {"support": [{"image": "", "label": "a"}], "name": text}
    yield "POST", "/tasks/x/support", {"support": [{"image": "", "label": text}]}
    yield "POST", "/tasks/x/evaluate", {"support": [{"image": "", "label": text}]}
    yield "POST", "/tasks/x/feedback", {"answers": [{"predicted": text, "label": "b"}]}


@pytest.mark.parametrize("text", [MARKS, MARKS_IN_TWO, BLANKS], ids=["marks", "marks in two", "blanks"])
def test_a_long_text_is_refused_at_once_at_every_door(client: httpx.Client, text: str) -> None:
    for method, path, body in doors(text):
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"long-{method}-{path.count('/')}"}
        answer = client.request(method, path, content=content, headers=headers, timeout=LONG)
        assert answer.status_code in (404, 422), f"{method} {path}: {answer.status_code}"
        assert len(answer.content) < 2000, f"{method} {path} repeats what was sent"


def test_a_filter_of_marks_is_read_at_once(client: httpx.Client) -> None:
    for name in ("name", "label"):
        assert client.get("/tasks", params={name: MARKS[:2500]}, timeout=LONG).json()["tasks"] == []


def test_a_model_with_a_long_name_is_not_repeated(client: httpx.Client) -> None:
    body = {"support": [{"image": "", "label": "a"}, {"image": "", "label": "b"}], "model": "\U000e0001" * 500_000}
    answer = client.post("/tasks", content=json.dumps(body, ensure_ascii=False), timeout=LONG)
    assert answer.status_code in (415, 422)
    answer = client.post("/tasks", json=body, timeout=LONG)
    assert_problem(answer, 422, "no model called")
    assert len(answer.content) < 5000


def test_thousands_of_options_are_refused_at_once(client: httpx.Client) -> None:
    names = ["".join(pair) for pair in itertools.product(string.ascii_letters + string.digits, repeat=2)]
    query = "&".join(names)
    for method, path in (("POST", "/tasks/x/predict"), ("GET", "/tasks"), ("GET", "/tasks/x/export.onnx")):
        answer = client.request(method, f"{path}?{query}", timeout=LONG)
        assert_problem(answer, 422, "more than 64 options after the question mark")


def test_an_option_of_a_list_that_is_given_twice_is_refused(client: httpx.Client) -> None:
    assert_problem(client.get("/tasks?limit=1&limit=2"), 422, "query.limit is given more than once")


def test_many_marks_on_a_letter_are_refused_and_few_are_spelling() -> None:
    assert spell("e\u0301", "label", 100) == "é"
    assert spell("क\u094d\u0937\u093f", "label", 100)  # four marks and letters of Devanagari
    with pytest.raises(Exception, match="over 30 marks on one character: remove some"):
        spell("a" + "\u0300" * 31, "label", 100)
    with pytest.raises(Exception, match="over 30 marks on one character: remove some"):
        spell("क" + "\u0300" * 16 + "\u200d" + "\u0300" * 15, "label", 100)
    assert compose(MARKS) == MARKS  # as it is
    assert compose("e\u0301" * 1000) == "é" * 1000


def test_extra_fields_of_a_zip_are_read_once() -> None:
    raw = b"n" * 65_535
    path = struct.pack("<HHBL", 0x7075, 6, 1, zlib.crc32(raw) ^ 1) + b"x"
    assert _unicode_path(path * 6000, raw) is None
    right = struct.pack("<HHBL", 0x7075, 5 + 3, 1, zlib.crc32(raw)) + b"abc"
    assert _unicode_path(path + right, raw) == b"abc"
    assert _unicode_path(right[:-1], raw) is None  # cut off
