"""Whole tasks that are exported and come back: tampered with, too large, torn; with two workers on either store."""

import io
import json
import signal
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.server import Server
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, add, create, predict
from tests.helpers.two_workers import ask, two_workers
from tests.helpers.zips import zip_of

Members = dict[str, bytes]


class Exported:
    """An exported task, to be changed part by part."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.manifest: dict[str, Any] = json.loads(self.members["manifest.json"])

    def of(self, **manifest: Any) -> Members:
        """The members with another manifest."""
        return self.members | {"manifest.json": json.dumps(self.manifest | manifest).encode()}

    def of_examples(self, **tensors: Any) -> Members:
        """The members with other tensors of the examples; None leaves one out."""
        changed = load(self.members["examples.safetensors"]) | tensors
        return self.members | {"examples.safetensors": save({k: v for k, v in changed.items() if v is not None})}

    def of_first_example(self, **changes: Any) -> Members:
        first, *others = self.manifest["examples"]
        return self.of(examples=[first | changes, *others])

    def of_head(
        self, metadata: dict[str, str] | None = None, *, manifest: Members | None = None, **tensors: Any
    ) -> Members:
        """The members with other tensors and metadata of the head, `_` for `.`; None leaves a tensor out."""
        data = self.members["head.safetensors"]
        described = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"] | (metadata or {})
        changed = load(data) | {name.replace("_", "."): value for name, value in tensors.items()}
        head = save({name: value for name, value in changed.items() if value is not None}, described)
        return (manifest or self.members) | {"head.safetensors": head}

    def of_codes_alone(self, version: str | None = None, **tensors: Any) -> Members:
        """The members as they are if the model was not loaded, which may be said to be of another version."""
        of_version = {} if version is None else {"model_version": version}
        manifest = self.of(has_head=False, **of_version)
        return self.of_head(of_version, manifest=manifest, fc_weight=None, fc_bias=None, **tensors)

    @property
    def first_picture(self) -> str:
        return str(self.manifest["examples"][0]["image"])


@pytest.fixture(scope="module")
def exported(client: httpx.Client) -> Exported:
    task_id = create(client, FIVE[:3], shots=2, keep_images="true").json()["task_id"]
    return Exported(client.get(f"/tasks/{task_id}/export.zip").content)


def send(client: httpx.Client, members: Members | bytes, **params: str) -> httpx.Response:
    data = members if isinstance(members, bytes) else zip_of(members)
    return client.post("/tasks/import", content=data, headers={"Content-Type": "application/zip"}, params=params)


def half(values: Any) -> Any:
    return values.astype(np.float16)


TAMPERED: dict[str, Callable[[Exported], Members | bytes]] = {
    "no manifest": lambda each: {k: v for k, v in each.members.items() if k != "manifest.json"},
    "no head": lambda each: {k: v for k, v in each.members.items() if k != "head.safetensors"},
    "a picture is missing": lambda each: {k: v for k, v in each.members.items() if k != each.first_picture},
    "a manifest of another format": lambda each: each.of(format="zip"),
    "a later version": lambda each: each.of(version=2),
    "a version that is no number": lambda each: each.of(version="latest"),
    "a manifest that is no JSON": lambda each: each.members | {"manifest.json": b"{"},
    "a manifest that is a list": lambda each: each.members | {"manifest.json": b"[]"},
    "a deep manifest": lambda each: each.members | {"manifest.json": b"[" * 10**5 + b"]" * 10**5},
    "a manifest of 20 MB": lambda each: each.of(name="x" * 20_000_000),
    "more right answers than judged ones": lambda each: each.of(judged=1, judged_right=2),
    "counts below 0": lambda each: each.of(judged=-1),
    "a bad name": lambda each: each.of(name="a\u202eb"),
    "other labels": lambda each: each.of(labels=["a", "b", "c"]),
    "labels in another order": lambda each: each.of(labels=each.manifest["labels"][::-1]),
    "another version of the model": lambda each: each.of(model_version="other"),
    "fewer examples": lambda each: each.of(examples=each.manifest["examples"][1:]),
    "no examples": lambda each: each.of(examples=[]),
    "too many examples": lambda each: each.of(examples=[{"index": n, "label": "a"} for n in range(1001)]),
    "an example under another label": lambda each: each.of_first_example(label=FIVE[2]),
    "an example with another number": lambda each: each.of_first_example(index=7),
    "a negative number": lambda each: each.of_first_example(index=-1),
    "a number beyond numbers": lambda each: each.of_first_example(index=2**70),
    "a picture outside": lambda each: each.of_first_example(image="../../etc/passwd"),
    "an absolute picture": lambda each: each.of_first_example(image="/etc/passwd"),
    "a picture without a name": lambda each: each.of_first_example(image=""),
    "a picture that is the head": lambda each: each.of_first_example(image="head.safetensors"),
    "a picture that is text": lambda each: each.members | {each.first_picture: b"text"},
    "a torn picture": lambda each: each.members | {each.first_picture: each.members[each.first_picture][:60]},
    "features of another width": lambda each: each.of_examples(features=np.zeros((6, 3), np.float16)),
    "features in float32": lambda each: each.of_examples(features=np.zeros((6, 64), np.float32)),
    "features that are not finite": lambda each: each.of_examples(
        features=half(load(each.members["examples.safetensors"])["features"] * np.float16("inf"))
    ),
    "fewer features": lambda each: each.of_examples(features=np.zeros((5, 64), np.float16)),
    "flat features": lambda each: each.of_examples(features=np.zeros(6, np.float16)),
    "no features": lambda each: each.of_examples(features=None),
    "labels that are no numbers": lambda each: each.of_examples(labels=np.full(6, np.nan, np.float32)),
    "labels of no class": lambda each: each.of_examples(labels=np.array([0, 0, 1, 1, 2, 3], np.int16)),
    "labels below 0": lambda each: each.of_examples(labels=np.array([0, 0, 1, 1, 2, -1], np.int16)),
    "labels that would take a terabyte": lambda each: each.of_examples(labels=np.array([0, 0, 1, 1, 2, 2**40])),
    "labels of other shots": lambda each: each.of_examples(labels=np.array([0, 0, 0, 1, 1, 2], np.int16)),
    "no labels": lambda each: each.of_examples(labels=np.zeros(0, np.int16)),
    "labels in a square": lambda each: each.of_examples(labels=np.zeros((6, 6), np.int16)),
    "numbers that do not ascend": lambda each: each.of_examples(numbers=np.array([0, 1, 2, 3, 5, 4, 9])),
    "numbers below 0": lambda each: each.of_examples(numbers=np.array([-1, 1, 2, 3, 4, 5, 9])),
    "numbers that end early": lambda each: each.of_examples(numbers=np.array([0, 1, 2])),
    "no numbers": lambda each: each.of_examples(numbers=np.zeros(0, np.int64)),
    "numbers that are no numbers": lambda each: each.of_examples(numbers=np.full(7, np.nan)),
    "numbers in a square": lambda each: each.of_examples(numbers=np.zeros((7, 7), np.int64)),
    "a later number that is too low": lambda each: each.of_examples(numbers=np.array([0, 1, 2, 3, 4, 5, 5])),
    "examples of the encoder": lambda each: each.of_examples(encoder_features=np.zeros((6, 64), np.float16)),
    "examples that are no tensors": lambda each: each.members | {"examples.safetensors": b"x" * 100},
    "an empty examples file": lambda each: each.members | {"examples.safetensors": b""},
    "a head that is no tensors": lambda each: each.members | {"head.safetensors": b"x" * 100},
    "a head of codes alone": lambda each: each.of_head(fc_weight=None, fc_bias=None),
    "a head that is there and not": lambda each: each.of(has_head="perhaps"),
    "codes alone of another width": lambda each: each.of_codes_alone(codes=np.zeros((3, 5), np.float32)),
    "codes alone that are not finite": lambda each: each.of_codes_alone(codes=np.full((3, 64), np.nan, np.float32)),
    "codes alone of fewer classes": lambda each: each.of_codes_alone(codes=np.zeros((2, 64), np.float32)),
    "no codes": lambda each: each.of_codes_alone(codes=None),
    "another version and text for a picture": lambda each: (
        each.of_codes_alone("other") | {each.first_picture: b"text"}
    ),
    "another version and a bad label": lambda each: each.of_head(
        {"model_version": "other", "labels": json.dumps(["a\u202e", *each.manifest["labels"][1:]])},
        manifest=each.of(model_version="other", labels=["a\u202e", *each.manifest["labels"][1:]], examples=[
            one | {"label": "a\u202e"} for one in each.manifest["examples"]
        ]),
    ),
    "half of the zip": lambda each: each.data[: len(each.data) // 2],
    "nothing but a beginning": lambda each: b"PK\x03\x04",
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_zip_is_refused_and_said(client: httpx.Client, exported: Exported, kind: str) -> None:
    before = client.get("/tasks", params={"limit": 1}).json()["tasks"][0]["task_id"]
    problem = assert_problem(send(client, TAMPERED[kind](exported)), 422)
    assert len(problem["detail"]) < 1000
    assert client.get("/tasks", params={"limit": 1}).json()["tasks"][0]["task_id"] == before


def test_bombs_and_too_much_are_refused(client: httpx.Client, exported: Exported) -> None:
    bomb = exported.members | {exported.first_picture: bytes(10**8)}
    assert_problem(send(client, zip_of(bomb, zipfile.ZIP_DEFLATED)), 413, "unpacked")
    same = [each | {"image": "manifest.json"} for each in exported.manifest["examples"]] * 100
    shared = exported.of(examples=same, note="x" * 100_000)  # one file that six hundred examples name
    assert_problem(send(client, zip_of(shared, zipfile.ZIP_DEFLATED)), 413, "unpacked")
    crowd = exported.members | {f"x/{n}": b"" for n in range(5000)}
    assert_problem(send(client, crowd), 422, "more than")
    assert_problem(send(client, zip_of(exported.members, zipfile.ZIP_BZIP2)), 422, "manifest.json")


def test_other_options_of_an_import_are_checked(client: httpx.Client, exported: Exported) -> None:
    assert_problem(send(client, exported.data, model="none"), 422, "none")
    assert_problem(send(client, exported.data, ttl_seconds="0"), 422, "ttl_seconds")
    assert_problem(send(client, exported.data, keep_images="true"), 422, "keep_images")
    head = exported.members["head.safetensors"]
    assert_problem(client.post("/tasks/import", content=head, params={"model": "omniglot"}), 422, "model")
    other = exported.manifest | {"model_version": "other"}
    described = exported.of(**other)
    assert_problem(send(client, described), 422, "different tasks")


def test_a_task_of_another_version_is_made_anew_from_its_pictures_or_a_conflict(
    client: httpx.Client, exported: Exported
) -> None:
    made = send(client, exported.of_codes_alone("x" * 100_000, codes=np.full((3, 7), np.nan, np.float32)))
    assert_problem(made, 422, "finite")
    anew = send(client, exported.of_codes_alone("other"))
    assert anew.status_code == 201, anew.text
    assert anew.json()["model_version"] == exported.manifest["model_version"]
    assert anew.json()["shots"] == dict.fromkeys(FIVE[:3], 2)
    without = [each | {"image": None} for each in exported.manifest["examples"]]
    bare = exported.of_codes_alone("other") | exported.of(has_head=False, model_version="other", examples=without)
    bare["head.safetensors"] = exported.of_codes_alone("other")["head.safetensors"]
    assert_problem(send(client, bare), 409, "picture of every example")


def test_codes_alone_are_as_good_as_a_head(client: httpx.Client, exported: Exported) -> None:
    back = send(client, exported.of_codes_alone())
    assert back.status_code == 201, back.text
    again = Exported(client.get(f"/tasks/{back.json()['task_id']}/export.zip").content)
    given, restored = (load(each.members["head.safetensors"]) for each in (exported, again))
    for name, tensor in given.items():
        np.testing.assert_array_equal(restored[name], tensor)
    assert again.manifest["has_head"] is True


def test_what_else_is_in_the_zip_does_not_matter(client: httpx.Client, exported: Exported) -> None:
    more = exported.of(note="by hand", quality={"suspects": "lies"}) | {"README.txt": b"x", "__MACOSX/._a": b"x"}
    made = send(client, zip_of(more, zipfile.ZIP_DEFLATED))
    assert made.status_code == 201, made.text
    assert made.json()["quality"]["suspects"] == []


def test_a_task_from_before_there_was_a_cohesion_comes_back_without_one(
    client: httpx.Client, exported: Exported
) -> None:
    """Its answers stay those of the task that was exported, until its examples change."""
    data = exported.members["head.safetensors"]
    described = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    del described["cohesion"]
    head = save(load(data), described)
    alone = client.post("/tasks/import", content=head, headers={"Content-Type": "application/octet-stream"}).json()
    whole = send(client, exported.members | {"head.safetensors": head}).json()
    queries = [png(name, 9) for name in FIVE[:3]]
    known = [[answer["known"] for answer in predict(client, task["task_id"], queries)] for task in (alone, whole)]
    assert known[0] == pytest.approx(known[1], abs=1e-6)
    again = Exported(client.get(f"/tasks/{whole['task_id']}/export.zip").content)
    assert b'"cohesion"' not in again.members["head.safetensors"]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0), st.integers(0, 255))
def test_whatever_byte_is_changed_it_is_a_task_or_a_refusal(
    client: httpx.Client, exported: Exported, place: int, value: int
) -> None:
    changed = bytearray(exported.data)
    changed[place % len(changed)] = value
    answer = send(client, bytes(changed))
    assert answer.status_code in (201, 409, 413, 415, 422), answer.text


def test_what_was_imported_obeys_the_limits_of_the_service(
    settings: Settings, tmp_path: Path, exported: Exported
) -> None:
    for limit in ({"max_images": 5}, {"max_ways": 2}, {"kept_bytes": 100}, {"max_ttl_seconds": 5}):
        tight = settings.model_copy(update={"data_dir": tmp_path, **limit})
        with serving(tight) as client:
            refused = send(client, exported.data, ttl_seconds="60")
            assert refused.status_code in (422, 507), refused.text
            assert client.get("/tasks").json()["tasks"] == []


def test_the_largest_task_that_keeps_pictures_comes_back(settings: Settings, tmp_path: Path) -> None:
    small = settings.model_copy(update={"data_dir": tmp_path, "max_images": 40, "max_body_bytes": 2**20})
    noise = np.random.default_rng(0)
    with serving(small) as client:
        task_id = create(client, FIVE[:2], keep_images="true").json()["task_id"]
        for n in range(38):
            drawn = np.kron(noise.integers(0, 255, (24, 24), dtype=np.uint8), np.ones((8, 8), np.uint8))
            assert add(client, task_id, [(FIVE[n % 2], encoded_grey(drawn))]).status_code == 200
        data = client.get(f"/tasks/{task_id}/export.zip").content
        assert send(client, data).status_code == 201


def encoded_grey(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# -- with two workers ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with two_workers(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


def make(server: Server, **options: str) -> str:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return str(create(client, FIVE[:3], shots=4, **options).json()["task_id"])


def test_exports_while_others_change_the_task_are_whole(server: Server) -> None:
    task_id = make(server, keep_images="true")

    def change(number: int) -> None:
        if number % 2:
            ask(server, "DELETE", f"/tasks/{task_id}/support/{number}")
        else:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                add(client, task_id, [("more", png("wave", number))])

    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(change, number) for number in range(8)]
        exports = [pool.submit(ask, server, "GET", f"/tasks/{task_id}/export.zip") for _ in range(8)]
    for each in changes:
        each.result()
    whole = [each.result() for each in exports if each.result().status_code == 200]
    assert {each.result().status_code for each in exports} <= {200, 409}
    for answer in [*whole, ask(server, "GET", f"/tasks/{task_id}/export.zip")]:
        found = Exported(answer.content)
        assert all(each["image"] in found.members for each in found.manifest["examples"])
        made = ask(server, "POST", "/tasks/import", content=answer.content)
        assert made.status_code == 201, made.text
        assert sum(made.json()["shots"].values()) == len(found.manifest["examples"])


def test_pictures_outlive_a_restart_and_go_with_their_task(server: Server) -> None:
    task_id = make(server, keep_images="true")
    path = f"/tasks/{task_id}/support/2/image"
    before = ask(server, "GET", path).content
    server.stop(signal.SIGKILL)
    server.start()
    assert ask(server, "GET", path).content == before
    assert ask(server, "DELETE", f"/tasks/{task_id}").status_code == 204
    assert ask(server, "GET", path).status_code == 404


def test_while_the_store_is_locked_nothing_is_half_imported(tmp_path: Path, exported: Exported) -> None:
    server = Server(tmp_path / "data", LEO_WORKERS="1")
    try:
        server.start()
        kept = make(server, keep_images="true")
        with sqlite3.connect(tmp_path / "data" / "tasks.sqlite3", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            for refused in (
                ask(server, "POST", "/tasks/import", content=exported.data),
                ask(server, "DELETE", f"/tasks/{kept}/support/0"),
                ask(server, "PATCH", f"/tasks/{kept}/support/0", json={"label": "x"}),
            ):
                assert_problem(refused, 503)
            other.execute("ROLLBACK")
        other.close()
        assert [each["task_id"] for each in ask(server, "GET", "/tasks").json()["tasks"]] == [kept]
        assert ask(server, "GET", f"/tasks/{kept}").json()["revision"] == 0
        assert ask(server, "POST", "/tasks/import", content=exported.data).status_code == 201
    finally:
        server.close()
