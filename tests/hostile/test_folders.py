"""Folders and zips as people and systems leave them, given to every command that takes one."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.command import run_leo
from tests.helpers.drawn import png, write_omniglot
from tests.helpers.photographed import jpeg, product
from tests.helpers.zips import deflate64, encrypted, write_zip

NAMES = ("ring", "ex", "tee")


@pytest.fixture
def support(tmp_path: Path) -> Path:
    """Two examples of each class, and what systems and people leave beside them."""
    folder = tmp_path / "support"
    for name in NAMES:
        for seed in (1, 2):
            place = folder / name / f"{seed}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(name, seed))
    return folder


@pytest.fixture
def query(tmp_path: Path) -> Path:
    (tmp_path / "ring.png").write_bytes(png("ring", 9))
    return tmp_path / "ring.png"


def classify(*arguments: object, status: int = 0) -> tuple[dict[str, str], list[str]]:
    """Run `leo classify`. Return the label of each file, and the lines of standard error."""
    result = run_leo("classify", *arguments, "--format", "json", status=status)
    return {answer["file"]: answer["label"] for answer in json.loads(result.stdout)}, result.stderr.splitlines()


def examples(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def clutter(folder: Path) -> None:
    """Add what must not count: hidden files and folders, other formats, an empty class, a pipe, a link in a circle."""
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "ring.png").write_bytes(png("ring", 9))
    (folder / "ring" / "._1.png").write_bytes(b"\0\5\26\7 of a Mac")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "raw").mkdir()
    (folder / "raw" / "1.cr2").write_bytes(b"x")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "ex" / "pipe.png")
    (folder / "tee" / "circle").symlink_to(folder)


def test_what_is_no_example_is_left_out_and_said_in_one_line(support: Path, query: Path) -> None:
    clutter(support)
    labels, errors = classify(support, query, "--top", 9)
    assert labels == {str(query): "ring"}
    (line,) = [line for line in errors if line.startswith("left out of ")]
    for said in (".ipynb_checkpoints", "ring/._1.png", "Thumbs.db", ".cr2", "empty", "pipe.png", "tee/circle"):
        assert said in line
    assert any("3 classes, 6 examples" in line for line in errors)


def test_the_same_by_leo_tasks(client: httpx.Client, support: Path, query: Path) -> None:
    clutter(support)
    server = {"LEO_URL": str(client.base_url)}
    created = run_leo("tasks", "create", support, **server)
    assert "left out of " in created.stderr
    task_id = created.stdout.strip()
    try:
        assert client.get(f"/tasks/{task_id}").json()["shots"] == {"ex": 2, "ring": 2, "tee": 2}
        broken = query.with_name("broken.png")
        broken.write_bytes(b"no picture")
        result = run_leo("tasks", "predict", task_id, query, broken, query, "--format", "json", status=3, **server)
        assert [answer["label"] for answer in json.loads(result.stdout)] == ["ring", "ring"]
        assert f"error: {broken}: " in result.stderr
        assert run_leo("tasks", "predict", task_id, broken, "--format", "json", status=1, **server).stdout == "[]\n"
        (support / "ex" / "3.png").write_bytes(b"no picture")
        refused = run_leo("tasks", "add", task_id, support, status=1, **server).stderr
        assert f"error: {support}/ex/3.png: " in refused
    finally:
        client.delete(f"/tasks/{task_id}")


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jfif", ".JPE"])
def test_suffixes_in_folder_and_zip(suffix: str, support: Path, query: Path) -> None:
    for file in sorted(support.rglob("*.png")):
        file.rename(file.with_suffix(suffix))
    members = {file.relative_to(support).as_posix(): file.read_bytes() for file in sorted(support.rglob("*.*"))}
    for given in (support, write_zip(support.parent / "a.zip", members)):
        labels, errors = classify(given, query)
        assert labels == {str(query): "ring"}
        assert not [line for line in errors if line.startswith("left out")]


def test_zips_of_windows_and_macs(support: Path, query: Path) -> None:
    inside = examples(support)
    windows = {f"support\\{name}".replace("/", "\\"): data for name, data in inside.items()}
    mac = {f"support/{name}": data for name, data in inside.items()} | {
        f"__MACOSX/support/{Path(name).parent}/._{Path(name).name}": b"\0\5\26\7" for name in inside
    }
    for members in (windows, mac):
        labels, errors = classify(write_zip(support.parent / "a.zip", members), query)
        assert labels == {str(query): "ring"}
        assert any("3 classes, 6 examples" in line for line in errors)


def test_zips_that_cannot_be_read_say_why(support: Path, query: Path) -> None:
    inside = examples(support)
    path = support.parent / "a.zip"
    for write, reason in ((encrypted, "password"), (deflate64, "Deflate64")):
        (line,) = run_leo("classify", write(path, inside), query, status=1).stderr.splitlines()
        assert reason in line
        assert line.startswith("error: ")
    whole = write_zip(path, inside).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for command in (("classify", path, query), ("evaluate", "--data", path), ("compare", "--data", path),
                    ("train", "--data", path, "--out", path.parent / "out"), ("tasks", "create", path)):  # fmt: skip
        (line,) = run_leo(*command, status=1).stderr.splitlines()
        assert "damaged or incomplete" in line


def test_a_damaged_member_costs_its_example_alone(support: Path, query: Path) -> None:
    path = write_zip(support.parent / "a.zip", examples(support))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("ex/2.png").header_offset + 60] ^= 0xFF
    path.write_bytes(data)
    labels, errors = classify(path, query, status=3)
    assert labels == {str(query): "ring"}
    (line,) = [line for line in errors if line.startswith("error: ")]
    assert "ex/2.png" in line


def test_bad_pictures_do_not_keep_the_others_from_an_answer(support: Path, query: Path, tmp_path: Path) -> None:
    folder = tmp_path / "queries" / "deep"
    folder.mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02d}.png").write_bytes(png(NAMES[number % 3], number) if number % 4 else b"no picture")
    os.mkfifo(tmp_path / "pipe.png")
    labels, errors = classify(support, tmp_path / "queries", tmp_path / "pipe.png", query, status=3)
    assert len(labels) == 30 + 1
    assert labels[str(query)] == "ring"
    assert len([line for line in errors if line.startswith("error: ")]) == 10 + 1
    csv = run_leo("classify", support, folder, "--format", "csv", status=3).stdout.splitlines()
    assert len(csv) == 1 + 30
    labels, _ = classify(support, write_zip(tmp_path / "q.zip", {"a/b.png": png("tee", 8)}))
    assert labels == {f"{tmp_path}/q.zip/a/b.png": "tee"}


def test_what_cannot_be_used_does_not_keep_the_others_from_an_answer(support: Path, query: Path) -> None:
    (query.parent / "cut.zip").write_bytes(b"PK\3\4 and no more")
    (query.parent / "none").mkdir()
    given = [query.parent / "cut.zip", query.parent / "none", query.parent / "missing.png"]
    labels, said = classify(support, *given, query, status=3)
    assert labels == {str(query): "ring"}
    for path in given:
        assert len([line for line in said if str(path) in line]) == 1
    assert run_leo("classify", support, *given, status=1).stdout == ""
    assert "the path is empty" in run_leo("classify", "", query, status=2).stderr


def test_names_that_are_not_utf8(support: Path, query: Path) -> None:
    os.rename(os.fsencode(support / "ring"), os.fsencode(support) + b"/caf\xe9")
    latin = os.fsencode(query.parent) + b"/fen\xeatre.png"
    os.rename(os.fsencode(query), latin)
    command = [sys.executable, "-m", "app.cli", "classify", support, latin, "--format"]
    for form in ("json", "csv", "table"):
        result = subprocess.run([*command, form], cwd=PROJECT, capture_output=True, check=True)
        assert "café" in result.stdout.decode()
        assert "fenêtre.png" in result.stdout.decode()


def test_a_folder_whose_name_can_be_no_label_is_named_with_the_character(
    client: httpx.Client, support: Path, query: Path
) -> None:
    (support / "ring").rename(support / "a\nb")
    refused = run_leo("tasks", "create", support, status=1, LEO_URL=str(client.base_url)).stderr
    assert "U+000A LINE FEED" in refused
    assert f"{support}/a\\nb/1.png" in refused
    assert len(refused.splitlines()) == 1
    for form in ("json", "csv", "table"):
        assert "a\\nb" in run_leo("classify", support, query, "--format", form).stdout


def test_accents_written_in_two_ways_are_one_class(support: Path, query: Path) -> None:
    (support / "ring").rename(support / "caf\u00e9")
    (support / "cafe\u0301").mkdir()
    (support / "cafe\u0301" / "3.png").write_bytes(png("ring", 3))
    labels, errors = classify(support, query)
    assert labels == {str(query): "caf\u00e9"}
    assert any("3 classes, 7 examples" in line for line in errors)


def test_evaluate_reads_what_people_see(tmp_path: Path) -> None:
    plain, messy = (write_omniglot(tmp_path / name, ["Alpha", "Beta"], 6) for name in ("plain", "messy"))
    clutter_in = messy / "Alpha" / ".ipynb_checkpoints"
    clutter_in.mkdir()
    (clutter_in / "1.png").write_bytes(b"no picture")
    (messy / "Alpha" / "._character01").write_bytes(b"x")
    (messy / "Alpha" / "character01" / "._0001_01.png").write_bytes(b"x")
    names = [file.relative_to(messy) for file in sorted(messy.rglob("*")) if file.is_file()]
    zipped = write_zip(
        tmp_path / "messy.zip", {f"messy\\{name}".replace("/", "\\"): (messy / name).read_bytes() for name in names}
    )
    rows = []
    for data in (plain, messy, zipped):
        out = tmp_path / "out.json"
        result = run_leo("evaluate", "--data", data, "--way", 5, "--query", 3, "--episodes", 20, "--out", out)
        assert ("left out of " in result.stderr) == (data != plain)
        rows.append(json.loads(out.read_text())["rows"])
    assert rows[0] == rows[1] == rows[2]


CLASSIFY = """
import resource, sys
from app.cli import app
app(["classify", *sys.argv[1:]], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_many_photos_fit_into_bounded_memory(tmp_path: Path) -> None:
    for name in ("orange", "carton"):
        for seed in range(4):
            (tmp_path / "support" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "support" / name / f"{seed}.jpg").write_bytes(jpeg(product(name, seed)))
    peaks = []
    for queries in (10, 160):
        folder = tmp_path / f"queries{queries}"
        folder.mkdir()
        for number in range(queries):
            (folder / f"{number}.jpg").write_bytes(jpeg(product(("orange", "carton")[number % 2], number % 10)))
        command = [sys.executable, "-c", CLASSIFY, str(tmp_path / "support"), str(folder)]
        result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert "model photos" in result.stderr
        *answers, peak = result.stdout.splitlines()
        assert len(answers) == 1 + queries
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 300  # MiB; in one batch they took 13 MiB each, nearly 2,000 in all
