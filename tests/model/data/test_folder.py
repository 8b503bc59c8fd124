"""Tests of reading folders, whatever lies in them."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.settings import PROJECT
from model.data import sources
from model.data.folder import Folder
from model.data.sources import DataError, File


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(folder: Folder) -> list[str]:
    return [file.name for file in folder.files]


def test_files_are_read_by_the_names_that_people_see(tmp_path: Path) -> None:
    write(tmp_path / "b" / "2.png", b"two")
    write(tmp_path / 'a b\'s "c" 🐈' / "1.png", b"one")
    folder = Folder(tmp_path)
    assert [(file.name, file.read()) for file in folder.files] == [
        ('a b\'s "c" 🐈/1.png', b"one"),
        ("b/2.png", b"two"),
    ]
    assert str(folder.files[1]) == f"{tmp_path}/b/2.png"
    assert not folder.left_out


@pytest.mark.parametrize("root", ["/", "//"])  # pathlib keeps the second apart, as POSIX does
def test_files_in_the_root_are_named_as_people_write_them(tmp_path: Path, root: str) -> None:
    folder = Folder(tmp_path)
    folder.path = Path(root)  # without listing what lies there
    assert str(File("ring.png", folder, 0)) == "/ring.png"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"caf\xe9", "café"),
        ("cafe\u0301".encode(), "café"),
        (b"a\nb\x1b[2J", "a\nb\x1b[2J"),
        (b"CON", "CON"),
        (b"back\\slash", "back\\slash"),
    ],
)
def test_unusual_names(tmp_path: Path, raw: bytes, name: str) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/" + raw)
    with open(os.fsencode(tmp_path) + b"/" + raw + b"/1.png", "wb") as file:
        file.write(b"x")
    folder = Folder(tmp_path)
    assert [(file.name, file.folders, file.read()) for file in folder.files] == [(f"{name}/1.png", (name,), b"x")]
    assert str(folder.files[0]).encode().decode().isprintable()


def test_what_systems_leave_behind_is_hidden(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png")
    for hidden in (".ipynb_checkpoints/1.png", "__MACOSX/1.png", "cat/._1.png", "cat/Thumbs.db", "cat/.git/x.png"):
        write(tmp_path / hidden)
    write(tmp_path / "cat" / "desktop.ini")
    folder = Folder(tmp_path)
    assert names(folder) == ["cat/1.png"]
    assert folder.folders == {("cat",)}
    assert str(folder.left_out).startswith("hidden: 6 (")


def test_a_hidden_folder_that_is_given_itself_is_read(tmp_path: Path) -> None:
    write(tmp_path / ".mine" / "cat" / "1.png")
    assert names(Folder(tmp_path / ".mine")) == ["cat/1.png"]


def test_linked_folders_are_read_and_circles_are_not(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png", b"linked")
    root = tmp_path / "root"
    write(root / "cat" / "1.png")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "itself").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to("../..")
    (root / "cat" / "system").symlink_to("/")
    (root / "loop").symlink_to(root / "loop")
    (root / "gone").symlink_to(tmp_path / "absent")
    folder = Folder(root)
    assert [(file.name, file.read()) for file in folder.files] == [("cat/1.png", b"x"), ("dog/1.png", b"linked")]
    assert "a link to a folder around it: 3 (" in str(folder.left_out)
    assert "a link that leads nowhere: 2 (" in str(folder.left_out)


def test_folders_that_link_to_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 2000)
    for one in range(9):
        (tmp_path / str(one)).mkdir()
        for other in range(9):
            (tmp_path / str(one) / f"to{other}").symlink_to(tmp_path / str(other))
    with pytest.raises(DataError, match="more than 2,000 files"):
        Folder(tmp_path)


def test_pipes_devices_and_sockets_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "cat" / "2.png", b"")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        folder = Folder(tmp_path)
    assert names(folder) == ["cat/1.png"]
    assert "a device, pipe or socket: 3 (" in str(folder.left_out)
    assert "an empty file: cat/2.png" in str(folder.left_out)


def test_a_file_that_becomes_a_pipe_or_vanishes_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "cat" / "1.png")
    (file,) = Folder(tmp_path).files
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*1\.png: No such file"):
        file.read()
    os.mkfifo(path)
    with pytest.raises(DataError, match="not a file but"):
        file.read()
    for given in (path, tmp_path):
        with pytest.raises(DataError):
            Folder.of_one_file(given).read()


def test_a_file_larger_than_the_limit_is_left_out(tmp_path: Path) -> None:
    with open(write(tmp_path / "cat" / "1.png"), "wb") as file:
        file.truncate(sources.MAX_FILE_BYTES + 1)
    assert "larger than 256 MiB: cat/1.png" in str(Folder(tmp_path).left_out)
    with pytest.raises(DataError, match="larger than 256 MiB"):
        Folder.of_one_file(tmp_path / "cat" / "1.png").read()


def test_what_may_not_be_read_is_said() -> None:
    code = (
        "import os, sys, pathlib; from model.data.folder import Folder; os.getuid() or os.setuid(65534);"
        "folder = Folder(pathlib.Path(sys.argv[1])); print([file.name for file in folder.files], folder.left_out)"
    )
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to other users
        root = Path(made)
        write(root / "cat" / "1.png")
        write(root / "secret" / "1.png")
        root.chmod(0o755)
        (root / "secret").chmod(0)
        read = subprocess.run(
            [sys.executable, "-c", code, made], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        (root / "secret").chmod(0o755)
    assert read.stdout.strip() == "['cat/1.png'] cannot be listed, Permission denied: secret"
