"""Tests of finding the classes in folders and zips of pictures."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from model.data.classes import ClassFolders, find_classes, find_level, open_source, read_picture
from model.data.sources import DataError
from tests.helpers.drawn import png
from tests.helpers.zips import write_zip

PNG = png("ring")


def write_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
    return root


def by_class(found: ClassFolders) -> dict[str, int]:
    return {"/".join(name): len(files) for name, files in found.named().items()}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/1.png", "dog/1.png", "dog/2.PNG"], {"cat": 1, "dog": 2}),
        (["pets/cat/1.png", "pets/dog/1.png"], {"cat": 1, "dog": 1}),
        (["a/b/pets/cat/1.png", "a/b/pets/dog/1.png"], {"cat": 1, "dog": 1}),
        (["fruit/fig/1.png", "fruit/pear/1.png", "veg/leek/1.png"], {"fruit/fig": 1, "fruit/pear": 1, "veg/leek": 1}),
        (["x/fruit/apple/1.png", "x/veg/leek/1.png"], {"fruit/apple": 1, "veg/leek": 1}),
        (["train/fruit/fig/1.png", "train/veg/leek/1.png", "test/fruit/fig/1.png"], {"fruit/fig": 2, "veg/leek": 1}),
        (["cat/1.png", "cat/old/1.png", "cat/old/er/1.png", "dog/1.png"], {"cat": 3, "dog": 1}),
        (["cat/1.png", "dog/2025/1.png", "dog/2026/1.png"], {"cat": 1, "dog": 2}),
        (["cat/1.png"], {"cat": 1}),
        (["cat/1.png", "cat/more/1.png"], {"cat": 2}),
        (["cat /1.png", "cat/2.png", "dog/1.png"], {"cat": 2, "dog": 1}),
        (["caf\u00e9/1.png", "cafe\u0301/2.png", "dog/1.png"], {"caf\u00e9": 2, "dog": 1}),
        (["Cat/1.png", "cat/1.png"], {"Cat": 1, "cat": 1}),
        (["a/1.jfif", "b/1.JPE", "c/1.webp"], {"a": 1, "b": 1, "c": 1}),
    ],
)  # fmt: skip
def test_folders_are_classes(names: list[str], classes: dict[str, int], tmp_path: Path) -> None:
    found = find_classes(write_files(tmp_path / "folder", *names))
    assert by_class(found) == classes
    assert not found.left_out
    zipped = find_classes(write_zip(tmp_path / "a.zip", dict.fromkeys(names, PNG)))
    assert by_class(zipped) == classes
    windows = find_classes(write_zip(tmp_path / "b.zip", {f"above\\{name}".replace("/", "\\"): PNG for name in names}))
    assert by_class(windows) == (classes if len(classes) > 1 else by_class(windows))


def test_what_is_left_out_is_one_line(tmp_path: Path) -> None:
    write_files(tmp_path, "cat/1.png", "dog/1.png", "cover.png", "README.md", "cat/notes.txt", "dog/2.xcf.zip")
    write_files(tmp_path, "raw/1.cr2", "raw/2.cr2", "raw/3.cr2", "raw/4.cr2", ".ipynb_checkpoints/1.png")
    (tmp_path / "empty").mkdir()
    found = find_classes(tmp_path)
    assert by_class(found) == {"cat": 1, "dog": 1}
    assert found.left_out == (
        "hidden: .ipynb_checkpoints; not a picture by its name: 2 (README.md, cat/notes.txt); "
        "an archive inside, unpack it: dog/2.xcf.zip; "
        "a format that is not read (.cr2), convert to JPEG or PNG: 4 (raw/1.cr2, raw/2.cr2, raw/3.cr2, ...); "
        "a picture outside of a class folder: cover.png; "
        "a folder without a picture that can be read: 2 (empty, raw)"
    )


def test_a_stray_picture_beside_classes_makes_no_class(tmp_path: Path) -> None:
    groups = [f"group{n}/{name}/1.png" for n in range(4) for name in ("a", "b")]
    found = find_classes(write_files(tmp_path, *groups, "group1/cover.png", "solo/1.png"))
    assert by_class(found) == {name[:-6]: 1 for name in groups} | {"solo": 1}
    assert found.left_out == "a picture outside of a class folder: group1/cover.png"
    zipped = write_zip(tmp_path / "a.zip", dict.fromkeys(["shop/cover.png", "shop/cat/1.png", "shop/dog/1.png"], PNG))
    assert by_class(find_classes(zipped)) == {"cat": 1, "dog": 1}


def test_no_picture_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no picture as CLASS/IMAGE\.jpg"):
        find_classes(tmp_path)
    write_files(tmp_path, "1.png", "cat/1.cr2")
    with pytest.raises(DataError, match=r"left out: .*\.cr2.*; a picture outside of a class folder: 1\.png"):
        find_classes(tmp_path)


@pytest.mark.parametrize("path", ["absent", "loop", "1.png/inside", "x" * 300, "a\0b"])
def test_what_is_not_there_is_an_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    write_files(tmp_path, "1.png")
    with pytest.raises(DataError, match="no data at"):
        open_source(tmp_path / path)


def test_other_things_than_folders_and_zips_are_errors(tmp_path: Path) -> None:
    write_files(tmp_path, "1.png")
    os.mkfifo(tmp_path / "pipe.zip")
    for name in ("1.png", "pipe.zip"):
        with pytest.raises(DataError, match="neither a folder nor a readable zip"):
            open_source(tmp_path / name)
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        open_source("/dev/zero")


def test_the_home_folder_and_trailing_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "mine", "cat/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert by_class(find_classes("~/mine/")) == {"cat": 1}
    monkeypatch.chdir(tmp_path / "mine")
    found = find_classes(".")
    assert (by_class(found), found.source.name) == ({"cat": 1}, "mine")


def test_find_level() -> None:
    assert find_level([]) == (0, 0)
    assert find_level([("a",), ("b",)]) == (0, 1)
    assert find_level([("x", "a"), ("x", "b")]) == (1, 2)
    assert find_level([("_negatives", "a"), ("_negatives", "b", "c")]) == (0, 1)
    assert find_level([("x", "_negatives", "a"), ("x", "_negatives", "b")]) == (1, 2)
    assert find_level([("a", "1"), ("b", "1"), ("b",)]) == (0, 1)
    assert find_level([("a", "1"), ("b", "1"), ("c", "1"), ("c",)]) == (0, 2)


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (40, 40), 255).save(buffer, "PNG")
    from model.images.drawings import to_drawing

    for data, reason in ((b"text", "is not a PNG"), (PNG[:200], "damaged"), (buffer.getvalue(), "shows no drawing")):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / "1.png").write_bytes(data)
        (file,) = find_classes(tmp_path).source.files
        with pytest.raises(DataError, match=rf"cannot use .*cat/1\.png: .*{reason}"):
            read_picture(file, to_drawing)
