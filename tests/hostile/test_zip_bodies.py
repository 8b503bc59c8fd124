"""Zips as bodies: each costs no more than its limits, and says what is wrong with it."""

import struct
import tracemalloc
import zipfile
from pathlib import Path

import httpx
import pytest

from app.http import zips
from app.problems import Problem
from app.settings import Settings
from model.data.sources import CONTROL
from tests.helpers.drawn import CHARACTERS, encoded, photo, png
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, predict
from tests.helpers.zips import patched, zip_of

KIND = {"Content-Type": "application/zip"}
FOLDERS = {f"{name}/{seed}.png": png(name, seed) for name in FIVE[:3] for seed in range(2)}


def send(client: httpx.Client, data: bytes, path: str = "/tasks", **params: str) -> httpx.Response:
    return client.post(path, content=data, headers=KIND, params=params)


def test_a_zip_of_folders_makes_a_task(client: httpx.Client) -> None:
    around = {f"my pictures/{name}": data for name, data in FOLDERS.items()}
    around |= {"__MACOSX/my pictures/._tee": b"x", "my pictures/.DS_Store": b"x", "my pictures/notes.txt": b"about"}
    data = zip_of(around, zipfile.ZIP_DEFLATED)
    made = send(client, data, name="zipped", ttl_seconds="60")
    assert made.status_code == 201, made.text
    task = made.json()
    assert (task["name"], task["shots"]) == ("zipped", dict.fromkeys(sorted(FIVE[:3]), 2))
    assert task["expires_at"] is not None
    form = client.post("/tasks", data={"name": "zipped"}, files={"archive": ("a.zip", data)})
    assert form.json()["shots"] == task["shots"]
    more = send(client, zip_of({"wave/1.png": png("wave")}), f"/tasks/{task['task_id']}/support")
    assert more.json()["shots"]["wave"] == 1
    pictures = {"b.png": png("tee", 9), "deep/er/a.png": png("ring", 9)}
    answers = send(client, zip_of(pictures), f"/tasks/{task['task_id']}/predict", top_k="1").json()["predictions"]
    assert [(each["file"], each["label"]) for each in answers] == [("b.png", "tee"), ("deep/er/a.png", "ring")]
    assert "file" not in predict(client, task["task_id"], [png("tee")])[0]


def test_an_idempotency_key_counts_for_zips_too(client: httpx.Client) -> None:
    headers = KIND | {"Idempotency-Key": "zip-once"}
    first, again = (client.post("/tasks", content=zip_of(FOLDERS), headers=headers) for _ in range(2))
    assert first.json() == again.json()
    other = zip_of(FOLDERS | {"tee/9.png": png("tee", 9)})
    assert_problem(client.post("/tasks", content=other, headers=headers), 422, "Idempotency-Key")


def with_lying_size(members: dict[str, bytes], size: int) -> bytes:
    """A zip that declares another size of each member than it has."""
    data = bytearray(zip_of(members, zipfile.ZIP_DEFLATED))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(signature)
        while start >= 0:
            struct.pack_into("<I", data, start + offset, size)
            start = data.find(signature, start + 1)
    return bytes(data)


def listed_twice() -> bytes:
    return zip_of(FOLDERS | {"tee/A.png": png("tee", 8), "tee/B.png": png("ell")}).replace(b"tee/A.png", b"tee/B.png")


# To bring so many marks into their order takes seconds, in which nothing else of the process runs.
UNORDERED = "a" + "\u0301" * 10_000 + "\u0316" * 10_000

BAD: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 422, "0 bytes"),
    "no zip": (b"PK\x03\x04" + b"x" * 100, 422, "damaged or incomplete"),
    "a picture": (png("tee"), 422, "another kind"),
    "half a zip": (zip_of(FOLDERS)[:2000], 422, "damaged or incomplete"),
    "an empty zip": (zip_of({}), 422, "no picture"),
    "no folders": (zip_of({"a.png": png("tee"), "b.png": png("ell")}), 422, "folder"),
    "one class": (zip_of({"a/1.png": png("tee")}), 422, "at least 2 classes"),
    "a damaged picture": (zip_of(FOLDERS | {"tee/9.png": png("tee")[:90]}), 422, "tee/9.png"),
    "no picture by its content": (zip_of(FOLDERS | {"tee/9.png": b"text"}), 422, "tee/9.png"),
    "a picture that is not read": (zip_of(FOLDERS | {"tee/9.psd": b"8BPS"}), 422, "tee/9.psd"),
    "a zip inside": (zip_of(FOLDERS | {"tee/9.zip": zip_of(FOLDERS)}), 422, "tee/9.zip"),
    "an empty picture": (zip_of(FOLDERS | {"tee/9.png": b""}), 422, "empty file"),
    "a name that leads out": (zip_of(FOLDERS | {"../tee/9.png": png("tee")}), 422, "leads out"),
    "a picture beside the folders": (zip_of(FOLDERS | {"9.png": png("tee")}), 422, "9.png"),
    "encrypted": (patched(zip_of(FOLDERS), 6, 1), 422, "encrypted"),
    "Deflate64": (patched(zip_of(FOLDERS), 8, 9), 422, "Deflate64"),
    "bzip2": (zip_of(FOLDERS, zipfile.ZIP_BZIP2), 422, "bzip2"),
    "LZMA": (zip_of(FOLDERS, zipfile.ZIP_LZMA), 422, "LZMA"),
    "a bad label": (zip_of(FOLDERS | {"a\u202eb/9.png": png("tee")}), 422, "U+202E"),
    "a line break in a label": (zip_of(FOLDERS | {"a\nb/9.png": png("tee")}), 422, "U+000A LINE FEED"),
    "an escape in a label": (zip_of(FOLDERS | {"a\x1b[31m/9.png": png("tee")}), 422, "U+001B ESCAPE"),
    "an end of line in a label": (zip_of(FOLDERS | {"a\x85b/9.png": png("tee")}), 422, "U+0085"),
    "a name that it lists twice": (listed_twice(), 422, "listed twice in the zip"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + bytes(600), 422, "7z archive; unpack it and zip the files anew"),
    "a long label": (zip_of(FOLDERS | {"a" * 101 + "/9.png": png("tee")}), 422, "101 characters"),
    "a bomb": (zip_of(FOLDERS | {"tee/9.png": bytes(10**8)}, zipfile.ZIP_DEFLATED), 413, "unpacked"),
    "many bombs": (
        zip_of({f"{n % 3}/{n}.png": bytes(10**6) for n in range(200)}, zipfile.ZIP_DEFLATED), 413, "unpacked"
    ),
    "a bomb that says it is small": (
        with_lying_size({"tee/9.png": bytes(10**8), "ell/1.png": bytes(10**6)}, 1000), 422, "damaged"
    ),
    "a small file that says it is large": (with_lying_size(FOLDERS, 10**6), 422, "cannot read"),
    "too many files": (zip_of({f"{n}/": b"" for n in range(5000)}), 422, "more than"),
    "too many pictures": (zip_of({f"{n % 2}/{n}.png": b"x" for n in range(1001)}), 422, "1001 images"),
    "a name of 60 KB": (zip_of(FOLDERS | {"tee/" + "9" * 60_000 + ".png": png("tee")}), 422, "more than 1024 bytes"),
    "accents in the wrong order": (zip_of(FOLDERS | {"tee/" + UNORDERED + ".png": png("tee")}), 422, "1024 bytes"),
    "a hundred folders": (zip_of(FOLDERS | {"a/" * 100 + "9.png": png("tee")}), 422, "more than 50 folders"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_zip_is_refused_and_said(client: httpx.Client, kind: str) -> None:
    data, status, said = BAD[kind]
    problem = assert_problem(send(client, data), status, said)
    assert len(problem["detail"]) < 1000
    assert "the last is read" not in problem["detail"]  # nothing is
    assert "give the folder" not in problem["detail"]  # none can be given over HTTP
    assert not CONTROL.search(problem["detail"])
    assert_problem(client.post("/tasks", files={"archive": ("a.zip", data)}), status, said)


def test_options_beside_a_zip_are_checked(client: httpx.Client) -> None:
    data = zip_of(FOLDERS)
    assert_problem(send(client, data, ttl_seconds="-1"), 422, "ttl_seconds")
    assert_problem(send(client, data, colour="red"), 422, "colour")
    assert_problem(send(client, data, model="none"), 422, "none")
    archive = {"archive": ("a.zip", data)}
    assert_problem(client.post("/tasks", files=archive, data={"labels": "tee"}), 422, "archive")
    assert_problem(client.post("/tasks", files=[("archive", data), ("archive", data)]), 422, "one zip")
    assert_problem(client.post("/tasks", files=[("images", data)], data={"labels": "tee"}), 422, "archive")
    assert_problem(client.post("/tasks", content=data, headers={"Content-Type": "text/plain"}), 415, "application/zip")


def test_a_bomb_costs_no_memory(settings: Settings) -> None:
    for kind in (
        "a bomb",
        "many bombs",
        "a bomb that says it is small",
        "a hundred folders",
        "a name of 60 KB",
        "bzip2",
    ):
        tracemalloc.start()
        with pytest.raises(Problem):
            zips.read_labelled(BAD[kind][0], settings)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20_000_000, kind


def test_members_that_share_their_data_count_each(client: httpx.Client) -> None:
    """One megabyte that the directory lists a hundred times is a hundred megabytes."""
    data = zip_of({"tee/1.png": bytes(10**6)})
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[at:end]
    entries = b"".join(entry.replace(b"tee/1.png", b"te%d/%d.png" % (n // 10, n % 10)) for n in range(100))
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, 100, 100, len(entries))
    assert_problem(send(client, data[:at] + entries + bytes(tail)), 413, "unpacked")


def test_the_limits_are_the_settings(settings: Settings, tmp_path: Path) -> None:
    tight = settings.model_copy(update={"data_dir": tmp_path, "max_images": 4, "max_body_bytes": 100_000})
    with serving(tight) as client:
        assert_problem(send(client, zip_of(FOLDERS)), 422, "6 images")
        noisy = encoded(photo(CHARACTERS["tee"], size=(400, 300)), "BMP")
        assert_problem(send(client, zip_of({"a/1.bmp": noisy, "b/1.bmp": noisy}, zipfile.ZIP_DEFLATED)), 413)
