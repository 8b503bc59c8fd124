"""Tests of `leo tasks` against a running server."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from app.tasks.standalone import RUNTIME, unpack
from tests.helpers.command import run_leo
from tests.helpers.drawn import png
from tests.helpers.tasks import FIVE, create


def test_a_task_from_creation_to_deletion(client: httpx.Client, support: Path, queries: Path, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url), "COLUMNS": "200"}

    def leo_tasks(*arguments: object) -> str:
        return run_leo("tasks", *arguments, **server).stdout

    task_id = leo_tasks("create", support, "--name", "by hand", "--ttl", 600).strip()
    answers = json.loads(leo_tasks("predict", task_id, queries, "--format", "json"))
    assert [answer["label"] for answer in answers] == ["ex", "ring", "tee"]
    (tmp_path / "more" / "zed").mkdir(parents=True)
    (tmp_path / "more" / "zed" / "1.png").write_bytes(png("zed"))
    assert "zed" in leo_tasks("add", task_id, tmp_path / "more")
    assert task_id in leo_tasks("list", "--name", "by hand", "--label", "zed")
    assert "of 1 judged answers 0 were right" in leo_tasks("feedback", task_id, "ex", "zed")
    assert "100.0 % right" in leo_tasks("evaluate", task_id, support)
    listed = leo_tasks("examples", task_id)
    assert [listed.count(name) > 0 for name in ("ex", "ring", "tee", "zed")] == [True] * 4
    last = listed.count("zed") and max(int(word) for word in listed.split() if word.isdecimal())
    assert "another" in leo_tasks("relabel", task_id, last, "another")
    assert "another" not in leo_tasks("remove", task_id, last)
    leo_tasks("rename", task_id, "renamed")
    assert "renamed" in leo_tasks("show", task_id)
    head, graph = tmp_path / "head.safetensors", tmp_path / "all.onnx"
    leo_tasks("export", task_id, head)
    leo_tasks("export", task_id, graph)
    assert graph.stat().st_size > head.stat().st_size > 1000
    imported = leo_tasks("import", head, "--name", "imported").strip()
    whole = tmp_path / "whole.zip"
    kept = leo_tasks("create", support, "--keep-images", "--name", "kept").strip()
    leo_tasks("export", kept, whole)
    leo_tasks("delete", kept, leo_tasks("import", whole, "--model", "omniglot").strip())
    assert "FILE.zip" in run_leo("tasks", "import", head, "--model", "omniglot", status=1, **server).stderr
    leo_tasks("delete", task_id, imported)
    for deleted in (task_id, imported):
        assert "404" in run_leo("tasks", "show", deleted, status=1, **server).stderr
    assert ".onnx" in run_leo("tasks", "export", task_id, tmp_path / "a.txt", status=1, **server).stderr
    assert "standard output" in run_leo("tasks", "export", task_id, "-", status=1, **server).stderr


def test_status_1_means_that_nothing_is_done(client: httpx.Client, support: Path, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url)}

    def ids() -> list[str]:
        return [task["task_id"] for task in client.get("/tasks").json()["tasks"]]

    one = run_leo("tasks", "create", support, **server).stdout.strip()
    head = tmp_path / "head.safetensors"
    run_leo("tasks", "export", one, head, **server)
    before = ids()
    for command in (("create", support), ("import", head)):
        with open("/dev/full", "w") as full:  # each write to it fails as on a full disk
            leo = [sys.executable, "-m", "app.cli", "tasks", *map(str, command)]
            made = subprocess.run(leo, stdout=full, stderr=subprocess.PIPE, env=os.environ | server, text=True)
        assert (made.returncode, ids()) == (1, before)
        assert "cannot write" in made.stderr
    assert "404" in run_leo("tasks", "delete", one, 24 * "0", status=1, **server).stderr
    assert "no example 99" in run_leo("tasks", "remove", one, 0, 99, status=1, **server).stderr
    assert ids() == before
    assert len(client.get(f"/tasks/{one}/support").json()["examples"]) == 6
    run_leo("tasks", "remove", one, 0, 0, **server)  # named twice, removed once
    run_leo("tasks", "delete", one, one, **server)
    assert one not in ids()


def test_negatives_are_listed_and_removed(client: httpx.Client, support: Path, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url)}
    for seed in range(3):
        (tmp_path / f"wave{seed}.png").write_bytes(png("wave", seed))
    given = [part for seed in range(3) for part in ("--negatives", tmp_path / f"wave{seed}.png")]
    task_id = run_leo("tasks", "create", support, *given, **server).stdout.strip()
    assert run_leo("tasks", "remove-negatives", task_id, **server).stdout.split() == ["0", "1", "2"]
    refused = run_leo("tasks", "remove-negatives", task_id, 0, 3, status=1, **server).stderr
    assert "no negative 3, it has 0, 1, 2" in refused
    assert run_leo("tasks", "remove-negatives", task_id, 1, 1, **server).stdout.split() == ["0", "2"]


def test_a_change_of_which_nothing_can_be_printed_is_said_to_be_made(client: httpx.Client, support: Path) -> None:
    server = os.environ | {"LEO_URL": str(client.base_url)}
    one = run_leo(
        "tasks", "create", support, "--negatives", support / "ex", LEO_URL=str(client.base_url)
    ).stdout.strip()
    commands = [("add", support), ("remove", "0"), ("relabel", "1", "tee"), ("feedback", "ring", "tee")]
    for revision, (command, *options) in enumerate([*commands, ("remove-negatives", "0")], start=1):
        with open("/dev/full", "w") as full:  # each write to it fails as on a full disk
            leo = [sys.executable, "-m", "app.cli", "tasks", command, one, *map(str, options)]
            changed = subprocess.run(leo, stdout=full, stderr=subprocess.PIPE, env=server, text=True)
        assert (changed.returncode, client.get(f"/tasks/{one}").json()["revision"]) == (3, revision), command
        assert "the change is made" in changed.stderr


def test_negatives_come_from_files_folders_and_zips(client: httpx.Client, support: Path, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url)}
    folder, one, text = tmp_path / "others", tmp_path / "wave.png", tmp_path / "text.png"
    folder.mkdir()
    for name in ("hook", "fork"):
        (folder / f"{name}.png").write_bytes(png(name, 1))
    one.write_bytes(png("wave", 1))
    text.write_bytes(b"text")
    task_id = run_leo("tasks", "create", support, "--negatives", folder, "--negatives", one, **server).stdout.strip()
    assert client.get(f"/tasks/{task_id}").json()["negatives"] == 3
    folder.rename(support / "_negatives")
    with_folder = run_leo("tasks", "create", support, **server).stdout.strip()
    assert client.get(f"/tasks/{with_folder}").json()["negatives"] == 2
    run_leo("tasks", "add", task_id, support, "--negatives", one, **server)
    added = client.get(f"/tasks/{task_id}").json()
    assert (added["negatives"], "_negatives" in added["labels"]) == (6, False)
    only = tmp_path / "only"
    only.mkdir()
    (support / "_negatives").rename(only / "_negatives")
    run_leo("tasks", "add", task_id, only, **server)
    assert client.get(f"/tasks/{task_id}").json() == {**added, "negatives": 8, "revision": added["revision"] + 1}
    refused = run_leo("tasks", "create", support, "--negatives", text, status=1, **server).stderr
    assert "text.png" in refused
    assert "Traceback" not in refused


def test_a_folder_that_needs_no_server(client: httpx.Client, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url)}
    task_id, folder, package = create(client).json()["task_id"], tmp_path / "folder", tmp_path / "onnxruntime-web"
    (package / "dist").mkdir(parents=True)

    def refused(*arguments: object) -> str:
        return run_leo("tasks", "export", task_id, *arguments, status=1, **server).stderr

    assert "npm install onnxruntime-web" in refused(folder, "--runtime", package)
    assert not folder.exists()
    for source in RUNTIME:
        (package / source).write_text(source)
    run_leo("tasks", "export", task_id, folder, "--runtime", package, **server)
    for source, name in RUNTIME.items():
        assert (folder / name).read_text() == source
    assert json.loads((folder / "labels.json").read_text())["labels"] == FIVE
    assert (folder / "predict.py").exists()
    assert "not empty" in refused(folder)
    (folder / "labels.json").write_text("old")
    (folder / "mine.txt").write_text("mine")
    run_leo("tasks", "export", task_id, folder, "--force", **server)
    assert json.loads((folder / "labels.json").read_text())["labels"] == FIVE
    assert (folder / "mine.txt").read_text() == "mine"
    assert "FOLDER" in refused(tmp_path / "graph.onnx", "--runtime", package)


@pytest.mark.parametrize("kind", ["zip", "safetensors", "onnx"])
def test_a_file_that_is_there_is_not_overwritten_unasked(client: httpx.Client, tmp_path: Path, kind: str) -> None:
    server = {"LEO_URL": str(client.base_url)}
    task_id, out = create(client).json()["task_id"], tmp_path / f"out.{kind}"
    out.write_text("mine")
    (line,) = run_leo("tasks", "export", task_id, out, status=1, **server).stderr.splitlines()
    assert "--force" in line
    assert out.read_text() == "mine"
    run_leo("tasks", "export", task_id, out, "--force", **server)
    assert out.stat().st_size > 1000


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(client: httpx.Client, tmp_path: Path) -> None:
    task_id, server = create(client, FIVE[:2]).json()["task_id"], {"LEO_URL": str(client.base_url)}
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "nowhere" / "x.zip")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place, words in (
        ("/dev/full", "choose a name that ends in .zip"),
        ("/dev/null", "choose a name that ends in .zip"),
        (tmp_path / "dangling", "choose a name that ends in .zip"),
        (tmp_path / "folder.zip", "is a folder"),
        (tmp_path / "dangling.zip", "--force"),
        (tmp_path / "none" / "x.onnx", "make it first"),
    ):
        said = " ".join(run_leo("tasks", "export", task_id, place, status=1, **server).stderr.split())
        assert words in said, said
        assert "Errno" not in said
    for place, words in ((tmp_path / "none.zip", "there is no"), (tmp_path / "folder.zip", "is a folder")):
        said = " ".join(run_leo("tasks", "import", place, status=1, **server).stderr.split())
        assert words in said, said
    run_leo("tasks", "export", task_id, tmp_path / "TASK.ZIP", **server)
    assert run_leo("tasks", "import", tmp_path / "TASK.ZIP", **server).stdout.strip()


def test_a_bad_picture_is_named_by_its_file_alone(client: httpx.Client, support: Path, tmp_path: Path) -> None:
    server = {"LEO_URL": str(client.base_url), "COLUMNS": "300"}
    task_id = create(client, FIVE[:2]).json()["task_id"]
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(png("ring", number))
    (tmp_path / "8.png").write_bytes(b"no picture")
    said = run_leo("tasks", "predict", task_id, tmp_path, status=3, **server).stderr
    assert "8.png: is not a PNG" in " ".join(said.split())
    (support / "ring" / "bad.png").write_bytes(png("ring")[:80])
    said = " ".join(run_leo("tasks", "create", support, status=1, **server).stderr.split())
    assert "bad.png: is damaged" in said


def test_a_command_that_is_interrupted_while_it_is_imported_says_nothing() -> None:
    hook = (
        "import signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'app.cli.tasks':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from app.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_folder_has_no_other_files_than_its_own() -> None:
    """A server may send anything; nothing is written outside the folder, and nothing unknown into it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("labels.json", "../labels.json", "/etc/labels.json", "run.sh", "onnxruntime/../../x"):
            archive.writestr(name, name)
    assert unpack(packed.getvalue()) == {"labels.json": b"labels.json"}


def test_no_server_is_one_line() -> None:
    (line,) = run_leo("tasks", "list", "--url", "http://127.0.0.1:9", status=1).stderr.splitlines()
    assert line.startswith("error: no answer from http://127.0.0.1:9")


def test_an_empty_id_is_one_line() -> None:
    """As of a variable that a creation which failed has left empty."""
    for arguments in (["delete", ""], ["show", ""], ["export", "", "out.onnx"]):
        (line,) = run_leo("tasks", *arguments, status=1).stderr.splitlines()
        assert line.startswith("error: '' is no task id")


def test_a_url_without_a_protocol_is_one_line() -> None:
    assert "http://" in run_leo("tasks", "list", "--url", "127.0.0.1:9", status=1).stderr
