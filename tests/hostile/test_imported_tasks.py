"""Imported heads obey the limits of created tasks, whatever the file says; and answers have a largest size."""

import json
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from app.problems import Problem
from app.settings import Settings
from app.tasks import head_file
from app.tasks.limits import MOST_SCORES, most_header_bytes
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, add, create, create_from, files, predict

MAX_HEADER = most_header_bytes(Settings())


class Exported:
    """A head as the service exports it, to be changed part by part."""

    def __init__(self, data: bytes) -> None:
        self.data, self.tensors = data, load(data)
        self.header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        self.metadata: dict[str, str] = self.header["__metadata__"]

    def altered(self, metadata: dict[str, str] | None = None, **tensors: Any) -> bytes:
        """The file with other metadata, and with other tensors by their names with `_` for `.`."""
        changed = self.tensors | {name.replace("_", "."): value for name, value in tensors.items()}
        return save(
            {name: value for name, value in changed.items() if value is not None},
            metadata=self.metadata | (metadata or {}),
        )

    def with_header(self, header: Any) -> bytes:
        """The file's numbers under another header."""
        written = (header if isinstance(header, str) else json.dumps(header)).encode()
        body = self.data[8 + int.from_bytes(self.data[:8], "little") :]
        return len(written).to_bytes(8, "little") + written + body

    def of_ways(self, ways: int, shots: int = 1, label: str = "{}") -> bytes:
        """A file with so many classes, all like the first one."""
        labels, counts = [label.format(n) for n in range(ways)], [shots] * ways
        described = {"labels": json.dumps(labels), "shots": json.dumps(counts)}
        tensors = {name.replace(".", "_"): value[:1].repeat(ways, 0) for name, value in self.tensors.items()}
        return self.altered(described, **tensors)


@pytest.fixture(scope="module")
def exported(client: httpx.Client) -> Exported:
    task_id = create(client, FIVE).json()["task_id"]
    return Exported(client.get(f"/tasks/{task_id}/parameters").content)


def import_head(client: httpx.Client, data: bytes, **params: Any) -> httpx.Response:
    return client.post("/tasks/import", content=data, params=params)


def labels(*changed: str) -> dict[str, str]:
    return {"labels": json.dumps([*changed, *FIVE[len(changed) :]])}


METADATA: dict[str, tuple[dict[str, str], str]] = {
    "an empty label": (labels(""), "a label is empty"),
    "a label of joiners": (labels("\u200d\u200c"), "a label is empty"),
    "NUL": (labels("a\0"), "U+0000 NULL"),
    "ESC": (labels("\x1b[2J"), "U+001B ESCAPE"),
    "a change of direction": (labels("a\u202e"), "U+202E"),
    "a lone surrogate": ({"labels": '["\\ud800", "b", "c", "d", "e"]'}, "U+D800"),
    "a label of 101 characters": (labels("a" * 101), "101 characters"),
    "a label of 20 MB": (labels("a" * 20_000_000), "its header has"),
    "labels that look the same": (labels("café", "cafe\u0301"), "must differ"),
    "the same label twice": (labels("a", "a"), "must differ"),
    "labels by number": ({"labels": "[1, 2, 3, 4, 5]"}, "labels"),
    "labels in an object": ({"labels": json.dumps(dict.fromkeys(FIVE, 1))}, "labels"),
    "labels that are no JSON": ({"labels": "ring, ex"}, "labels"),
    "labels that are nested": ({"labels": "[" * 50_000 + "]" * 50_000}, "labels"),
    "no shots": ({"shots": "[0, 1, 1, 1, 1]"}, "shots"),
    "negative shots": ({"shots": "[-1, 1, 1, 1, 1]"}, "shots"),
    "a truth as shots": ({"shots": "[true, 1, 1, 1, 1]"}, "shots"),
    "half a shot": ({"shots": "[1.5, 1, 1, 1, 1]"}, "shots"),
    "shots beyond numbers": ({"shots": f"[{'9' * 5000}, 1, 1, 1, 1]"}, "shots"),
    "endless shots": ({"shots": "[1e999, 1, 1, 1, 1]"}, "shots"),
    "shots that are not a number": ({"shots": "[NaN, 1, 1, 1, 1]"}, "shots"),
    "more shots than examples may be": ({"shots": "[999999, 1, 1, 1, 1]"}, "1000003 examples"),
    "fewer shots than labels": ({"shots": "[1]"}, "one shot count each"),
    "100,000 losses": ({"adaptation": json.dumps({"losses": [0.5] * 100_000})}, "header"),
    "10,000 losses": (
        {"adaptation": json.dumps({"losses": [1] * 10_000, "support_accuracy": 1, "milliseconds": 1})},
        "adaptation",
    ),
    "a loss that is not a number": (
        {"adaptation": '{"losses": [NaN], "support_accuracy": 1, "milliseconds": 1}'},
        "adaptation",
    ),
    "an accuracy of 2": ({"adaptation": '{"losses": [1], "support_accuracy": 2, "milliseconds": 1}'}, "adaptation"),
    "a report that is no object": ({"adaptation": "null"}, "adaptation"),
    "numbers of negatives that are not there": ({"negative_numbers": "[0, 1]"}, "negative_numbers must be 1"),
    "no number that is free": ({"negative_numbers": "[]"}, "negative_numbers must be 1"),
    "a number below 0": ({"negative_numbers": "[-1]"}, "negative_numbers"),
    "a number beyond numbers": ({"negative_numbers": f"[{2**53}]"}, "negative_numbers"),
    "half a number": ({"negative_numbers": "[0.5]"}, "negative_numbers"),
}


@pytest.mark.parametrize("kind", METADATA)
def test_metadata_of_a_file_obeys_the_limits_of_a_task(client: httpx.Client, exported: Exported, kind: str) -> None:
    metadata, said = METADATA[kind]
    assert_problem(import_head(client, exported.altered(metadata)), 422, said)


def test_other_versions_of_models_are_a_conflict(client: httpx.Client, exported: Exported) -> None:
    assert_problem(import_head(client, exported.altered({"model_version": "other"})), 409, "other")
    long = assert_problem(import_head(client, exported.altered({"model_version": "x" * 100_000})), 409, "x" * 100)
    assert len(long["detail"]) < 1000


def test_a_models_name_is_the_servers_whatever_the_file_calls_it(client: httpx.Client, exported: Exported) -> None:
    for name in ("an older name", "x" * 100_000):
        imported = import_head(client, exported.altered({"model": name}))
        assert imported.status_code == 201, imported.text
        assert imported.json()["model"] == "omniglot"


@pytest.mark.parametrize("ways", [1, 101, 500])
def test_a_file_has_as_many_classes_as_a_task_may(client: httpx.Client, exported: Exported, ways: int) -> None:
    assert_problem(import_head(client, exported.of_ways(ways)), 422, "classes")


def test_the_largest_task_of_all_limits_is_imported(client: httpx.Client, exported: Exported) -> None:
    longest = "{:05d}" + "\U0001f525" * 95  # 100 characters, each written in the header with up to 14
    largest = import_head(client, exported.of_ways(100, shots=10, label=longest))
    assert largest.status_code == 201, largest.text
    again = client.get(f"/tasks/{largest.json()['task_id']}/parameters").content
    assert import_head(client, again).json()["labels"] == largest.json()["labels"]


@pytest.mark.parametrize(
    ("tensor", "change", "said"),
    [
        ("fc.weight", lambda values: values * np.float32("nan"), "not finite"),
        ("fc.weight", lambda values: values + np.float32("inf"), "not finite"),
        ("fc.bias", lambda values: values - np.float32("inf"), "not finite"),
        ("codes", lambda values: values * np.float32("nan"), "not finite"),
        ("codes", lambda values: values * 0 + np.float32(3e38), "larger than any model makes"),
        ("codes", lambda values: values + 1, "not what the file's codes decode to"),
        ("fc.weight", lambda values: values + 1, "not what the file's codes decode to"),
        ("codes", lambda values: values[:, :0].copy(), "codes must be"),
        ("codes", lambda values: values[:4].copy(), "with 5 rows"),
        ("codes", lambda values: values.reshape(-1), "with 5 rows"),
        ("fc.weight", lambda values: values.astype(np.float16), "not float32"),
        ("fc.weight", lambda values: values.view(np.int32), "not float32"),
        ("fc.bias", lambda values: values.astype(bool), "not float32"),
        ("fc.bias", lambda values: values[:, None].copy(), "with 5 rows"),
        ("codes", lambda _: None, "lacks codes"),
    ],
)
def test_numbers_of_a_file_are_those_of_a_head(
    client: httpx.Client, exported: Exported, tensor: str, change: Any, said: str
) -> None:
    changed = {tensor.replace(".", "_"): change(exported.tensors[tensor])}
    assert_problem(import_head(client, exported.altered(**changed)), 422, said)


def headers(exported: Exported) -> dict[str, Any]:
    """Headers that a reader of the format must refuse, or that hold no head."""
    good = exported.header
    weight = good["fc.weight"]
    start, end = weight["data_offsets"]
    return {
        "null metadata": good | {"__metadata__": None},
        "metadata of numbers": good | {"__metadata__": {"labels": 1}},
        "a list of metadata": good | {"__metadata__": []},
        "no metadata": {name: value for name, value in good.items() if name != "__metadata__"},
        "overlapping numbers": good | {"codes": weight},
        "numbers past the end": good | {"fc.weight": weight | {"data_offsets": [start, end + 4]}},
        "numbers backwards": good | {"fc.weight": weight | {"data_offsets": [end, start]}},
        "negative offsets": good | {"fc.weight": weight | {"data_offsets": [-4, end]}},
        "huge offsets": good | {"fc.weight": weight | {"data_offsets": [2**63, 2**64]}},
        "a shape that overflows": good | {"fc.weight": weight | {"shape": [2**62, 2**62]}},
        "a negative shape": good | {"fc.weight": weight | {"shape": [-5, -64]}},
        "an unknown type": good | {"fc.weight": weight | {"dtype": "F33"}},
        "a type of 8 bits": good | {"fc.weight": weight | {"dtype": "F8_E4M3"}},
        "a type of 16 bits": good | {"fc.weight": weight | {"dtype": "BF16"}},
        "a list": [good],
        "null": None,
        "a number": 1,
        "nested lists": "[" * 100_000,
        "nested objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
        "a key twice": json.dumps(good)[:-1] + ', "codes": ' + json.dumps(weight) + "}",
        "not JSON": "x" * 1000,
    }


def test_headers_that_lie_are_refused(client: httpx.Client, exported: Exported) -> None:
    for kind, header in headers(exported).items():
        response = import_head(client, exported.with_header(header))
        assert response.status_code == 422, (kind, response.text)
        assert_problem(response, 422, "GET /tasks/{id}/parameters" if "type of" not in kind else "")
    for data in (b"\xff" * 100, struct.pack("<Q", 2**63), b"\0" * 8, exported.data[:7], exported.data[:-5]):
        assert_problem(import_head(client, data), 422, "GET /tasks/{id}/parameters")
    assert_problem(import_head(client, exported.data + b"more"), 422, "not a safetensors file")


def test_a_header_of_32_mb_holds_nobody_up(client: httpx.Client, exported: Exported) -> None:
    header = json.dumps({"__metadata__": {str(n): "x" * 20 for n in range(800_000)}}).encode()
    data = (len(header).to_bytes(8, "little") + header)[: 32 * 2**20]
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(import_head, client, data) for _ in range(4)]
        slowest = 0.0
        while not all(each.done() for each in sent):
            began = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            slowest = max(slowest, time.perf_counter() - began)
        for each in sent:
            assert_problem(each.result(), 422, "header")
    assert slowest < 5  # seconds; four such headers take far longer to parse


def test_support_and_changes_obey_the_limits_too(client: httpx.Client) -> None:
    ways = 98
    task_id = create_from(client, [(str(n), png("ring", n)) for n in range(ways)]).json()["task_id"]
    new = [(f"new {n}", png("tee", n)) for n in range(3)]
    assert_problem(add(client, task_id, new), 422, "101 classes")
    assert add(client, task_id, new[:2]).status_code == 200
    many = [("0", png("ring", 200))] * 901
    assert_problem(add(client, task_id, many), 422, "1001 examples")
    assert_problem(add(client, task_id, [("a" * 101, png("ring"))]), 422, "101 characters")
    assert_problem(client.patch(f"/tasks/{task_id}", json={"name": "a" * 101}), 422, "101 characters")
    assert_problem(client.patch(f"/tasks/{task_id}", json={"ttl_seconds": 10**30}), 422, "ttl_seconds")
    assert_problem(client.patch(f"/tasks/{task_id}", json={"ttl_seconds": 0}), 422, "ttl_seconds")
    assert client.get(f"/tasks/{task_id}").json()["shots"]["0"] == 1


@pytest.fixture(scope="module")
def wide(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose tasks may have very many classes."""
    limits = {"max_ways": 3000, "max_images": 3000, "data_dir": tmp_path_factory.mktemp("wide")}
    with serving(settings.model_copy(update=limits)) as client:
        yield client


def test_answers_have_a_largest_size(wide: httpx.Client, exported: Exported) -> None:
    imported = import_head(wide, exported.of_ways(3000))
    assert imported.status_code == 201, imported.text
    path, picture = f"/tasks/{imported.json()['task_id']}/predict", png("ring")
    fits = MOST_SCORES // 3000
    answer = wide.post(path, files=files([picture] * fits), params={"top_k": 14_000})
    assert [len(each["top_k"]) for each in answer.json()["predictions"]] == [3000] * fits
    refused = wide.post(path, files=files([picture] * 1000), params={"top_k": 14_000})
    assert_problem(refused, 422, "3000000 scores", "ask for top_k=100 or less")
    assert wide.post(path, files=files([picture] * 1000), params={"top_k": 100}).status_code == 200
    assert_problem(wide.post(path, files=files([picture] * 3000), params={"top_k": 34}), 422, "top_k=33")


def test_the_largest_answer_by_default_is_given(client: httpx.Client) -> None:
    task_id = create_from(client, [(str(n), png("ring", n)) for n in range(100)]).json()["task_id"]
    answers = predict(client, task_id, [png("ring", 5)] * 1000, top_k=10**6)
    assert [len(answer["top_k"]) for answer in answers] == [100] * 1000
    assert all(answer["top_k"] == sorted(answer["top_k"], key=lambda score: -score["confidence"]) for answer in answers)


@pytest.fixture(scope="module")
def head(exported: Exported) -> bytes:
    return exported.data


@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_file_is_a_head_or_a_refusal(head: bytes, data: st.DataObject) -> None:
    changed = bytearray(head)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, min(len(changed), 1500)))
        piece = data.draw(st.binary(max_size=8) | st.sampled_from([b"null", b"1e999", b"\\ud800", b"[[", b"]", b'"']))
        changed[at : at + data.draw(st.integers(0, 8))] = piece
    refusal: Problem | None = None
    try:
        head_file.read(bytes(changed), MAX_HEADER)
    except Problem as problem:
        refusal = problem
    if refusal:
        assert refusal.status == 422
        refusal.response()
