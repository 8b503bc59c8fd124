"""`leo classify` without a server, `leo tasks` against a real one."""

import csv
import io
import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.conftest import WEIGHTS
from tests.helpers.drawn import CHARACTERS, encoded, photo, png, shaky

NAMES = ["ring", "ex", "tee"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A support folder with two examples a class, and a folder of photos to ask about."""
    for name in NAMES:
        (tmp_path / "support" / name).mkdir(parents=True)
        for seed in (1, 2):
            (tmp_path / "support" / name / f"{seed}.png").write_bytes(png(name, seed))
    (tmp_path / "queries").mkdir()
    for name in NAMES:
        picture = photo(shaky(CHARACTERS[name], 9), 3, size=(800, 600), pen=8)
        (tmp_path / "queries" / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=85))
    return tmp_path / "support", tmp_path / "queries"


def leo(*arguments: object, status: int = 0, **environment: str) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.output if status else result.stdout


@pytest.mark.parametrize("model", ["omniglot", "omniglot-105"])
def test_classify_photos_by_a_folder_of_drawings(folders: tuple[Path, Path], model: str) -> None:
    said = leo("classify", *folders, "--format", "json", "--top", 2, "--model", WEIGHTS / model)
    answers = json.loads(said)
    assert {Path(answer["file"]).stem: answer["label"] for answer in answers} == {name: name for name in NAMES}
    assert all(len(answer["top"]) == 2 and not answer["unknown"] for answer in answers)


def test_classify_as_csv_and_table(folders: tuple[Path, Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(leo("classify", *folders, "--format", "csv", "--threshold", 1))))
    assert [row["label"] for row in rows] == sorted(NAMES)
    assert set(rows[0]) == {"file", "label", "confidence", "unknown"}
    table = leo("classify", folders[0], folders[1] / "ring.jpg", "--top", 3)
    assert "ring" in table
    assert "next" in table


def test_classify_warns_of_a_wrong_label(folders: tuple[Path, Path]) -> None:
    support, queries = folders
    (support / "ex" / "wrong.png").write_bytes(png("ring", 5))
    result = CliRunner().invoke(app, ["classify", str(support), str(queries)])
    assert "worth a look" in result.stderr
    assert "wrong.png" in result.stderr.replace("\n", "")
    assert "worth a look" not in result.stdout


def test_classify_says_what_is_wrong_in_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    support, queries = folders
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for arguments, said in [
        ((tmp_path / "absent", queries), "no folder at"),
        ((queries, queries), "at least 2 folders"),
        ((support, tmp_path / "absent.png"), "no picture at"),
        ((support, tmp_path / "empty"), "no pictures"),
        ((support, tmp_path / "broken.png"), "cannot be read"),
    ]:
        output = leo("classify", *arguments, status=1).replace("\n", " ")
        assert "error:" in output
        assert said in output


def test_tasks_of_a_running_server(client: httpx.Client, folders: tuple[Path, Path], tmp_path: Path) -> None:
    support, queries = folders
    server = {"LEO_URL": str(client.base_url), "COLUMNS": "200"}
    task_id = leo("tasks", "create", support, "--name", "by hand", "--ttl", 600, **server).strip()
    answers = json.loads(leo("tasks", "predict", task_id, queries, "--format", "json", **server))
    assert [answer["label"] for answer in answers] == sorted(NAMES)
    (tmp_path / "more" / "zed").mkdir(parents=True)
    (tmp_path / "more" / "zed" / "1.png").write_bytes(png("zed"))
    assert "zed" in leo("tasks", "add", task_id, tmp_path / "more", **server)
    assert task_id in leo("tasks", "list", "--name", "by hand", "--label", "zed", **server)
    leo("tasks", "rename", task_id, "renamed", **server)
    assert "renamed" in leo("tasks", "show", task_id, **server)
    head, graph = tmp_path / "head.safetensors", tmp_path / "all.onnx"
    leo("tasks", "export", task_id, head, **server)
    leo("tasks", "export", task_id, graph, **server)
    assert graph.stat().st_size > head.stat().st_size > 1000
    back = leo("tasks", "import", head, "--name", "back", **server).strip()
    leo("tasks", "delete", task_id, back, **server)
    for gone in (task_id, back):
        assert "404" in leo("tasks", "show", gone, status=1, **server)
    assert ".onnx" in leo("tasks", "export", task_id, tmp_path / "a.txt", status=1, **server)


def test_no_server_is_one_line() -> None:
    output = leo("tasks", "list", "--url", "http://127.0.0.1:9", status=1)
    assert "error: no answer from http://127.0.0.1:9" in output.replace("\n", " ")


def test_help_tells_of_them() -> None:
    assert "classify" in leo("--help")
    for command in ("create", "add", "predict", "list", "show", "rename", "delete", "export", "import"):
        assert command in leo("tasks", "--help")
