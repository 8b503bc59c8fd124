"""Tests of reading zips, as many tools write them."""

import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from model.data.archive import Archive
from model.data.sources import MAX_FILE_BYTES, DataError
from tests.helpers.zips import deflate64, encrypted, patched, write_raw_names, write_zip


def names(archive: Archive) -> list[str]:
    return [file.name for file in archive.files]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_are_read(tmp_path: Path, compression: int) -> None:
    archive = Archive(write_zip(tmp_path / "a.zip", {"b/2.png": b"two", "a/1.png": b"one"}, compression))
    assert [(file.name, file.read()) for file in archive.files] == [("a/1.png", b"one"), ("b/2.png", b"two")]
    assert archive.folders == {("a",), ("b",)}
    assert str(archive.files[0]) == f"{tmp_path}/a.zip/a/1.png"
    assert not archive.left_out


@pytest.mark.parametrize(
    ("raw", "made_on", "name"),
    [
        (b"cat\\1.png", 0, "cat/1.png"),
        (b"cat\\1.png", 3, "cat/1.png"),
        (b"/home/me/cat/1.png", 3, "home/me/cat/1.png"),
        (b"C:\\pets\\cat\\1.png", 0, "pets/cat/1.png"),
        (b"./cat//1.png", 3, "cat/1.png"),
        ("é/1.png".encode(), 3, "é/1.png"),  # UTF-8 without the mark, as macOS writes it
        ("e\u0301/1.png".encode(), 3, "é/1.png"),
        ("é/1.png".encode("cp437"), 0, "é/1.png"),
        ("é/1.png".encode("cp437"), 3, "é/1.png"),
        ("é/1.png".encode("latin-1"), 3, "é/1.png"),
        (b"a\x1b[2J\n/1.png", 3, "a\x1b[2J\n/1.png"),
    ],
)
def test_names_are_what_people_see(tmp_path: Path, raw: bytes, made_on: int, name: str) -> None:
    archive = Archive(write_raw_names(tmp_path / "a.zip", {raw: b"x"}, made_on))
    assert names(archive) == [name]
    assert str(archive.files[0]).isprintable()
    assert archive.files[0].read() == b"x"


def test_a_name_in_the_unicode_extra_field_counts_if_it_belongs_to_the_name(tmp_path: Path) -> None:
    raw, utf8 = b"?/1.png", "猫/1.png".encode()
    for crc, name in ((zlib.crc32(raw), "猫/1.png"), (1, "?/1.png")):
        extra = struct.pack("<HHBL", 0x7075, 5 + len(utf8), 1, crc) + utf8
        assert names(Archive(write_raw_names(tmp_path / "a.zip", {raw: b"x"}, extra=extra))) == [name]


def test_what_is_left_out_is_said_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("cat/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", b"one")
        for name in ("__MACOSX/cat/._1.png", "__MACOSX/cat/._2.png", "cat/.hidden.png", "cat/Thumbs.db"):
            archive.writestr(name, b"x")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("cat/../../out.png", b"x")
        archive.writestr("cat/empty.png", b"")
    read = Archive(path)
    assert names(read) == ["cat/1.png"]
    assert str(read.left_out) == (
        "a link in a zip: cat/link.png; a name that leads out of the zip: cat/../../out.png; "
        "an empty file: cat/empty.png; hidden: 3 (__MACOSX, cat/.hidden.png, cat/Thumbs.db)"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_name_listed_twice_the_last_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.png", b"old")
        archive.writestr("cat/1.png", b"new")
    read = Archive(tmp_path / "a.zip")
    assert [file.read() for file in read.files] == [b"new"]
    assert "listed twice" in str(read.left_out)


def test_members_that_cannot_be_decompressed_are_named(tmp_path: Path) -> None:
    for write, reason in ((encrypted, "encrypted"), (deflate64, "Deflate64")):
        read = Archive(write(tmp_path / "a.zip", {"cat/1.png": b"x"}))
        assert not read.files
        assert f"{reason}" in str(read.left_out)
        assert "cat/1.png" in str(read.left_out)


def test_a_damaged_member_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"0123456789" * 50}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF
    path.write_bytes(data)
    (file,) = Archive(path).files
    with pytest.raises(DataError, match=r"cannot read .*cat/1\.png: the zip is damaged there"):
        file.read()


def test_a_member_larger_than_it_declares_is_not_read_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"cat/1.png": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 10_000_000), struct.pack("<L", 100)))
    (file,) = Archive(path).files
    with pytest.raises(DataError, match="damaged"):
        file.read()


def test_a_member_that_declares_more_than_the_limit_is_left_out(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"cat/1.png": bytes(1000)}, zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", 1000), struct.pack("<L", MAX_FILE_BYTES + 1)))
    read = Archive(path)
    assert not read.files
    assert "larger than 256 MiB" in str(read.left_out)


def test_other_files_are_refused_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    whole = write_zip(tmp_path / "whole.zip", {"a/1.png": b"x" * 1000}).read_bytes()
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "whole.zip", "whole.zip")
    for data, what in [
        (b"", "another kind"),
        (b"no zip", "another kind"),
        (whole[:500], "damaged or incomplete"),
        (whole[:-30], "damaged or incomplete"),
        (b"Rar!\x1a\x07", "a rar archive; unpack it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
        (b"\x1f\x8b\x08", "perhaps a tar archive"),
        ((tmp_path / "t.tar").read_bytes(), "a tar archive; unpack it"),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match="neither a folder nor a readable zip") as refused:
            Archive(path)
        assert what in str(refused.value)


def test_a_name_marked_as_utf8_that_is_not_is_refused(tmp_path: Path) -> None:
    path = write_raw_names(tmp_path / "a.zip", {"é/1.png".encode("latin-1"): b"x"})
    path.write_bytes(patched(path.read_bytes(), 6, 0x800))
    with pytest.raises(DataError, match="unpack it and give the folder"):
        Archive(path)


def test_zip64_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("cat/1.png", "w", force_zip64=True) as file:
        file.write(b"x")
    assert [file.read() for file in Archive(tmp_path / "a.zip").files] == [b"x"]
