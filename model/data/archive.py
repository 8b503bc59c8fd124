"""A zip as a source of files. Nothing is unpacked to disk, so names in it cannot lead out of a folder."""

import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from model.data.sources import MAX_FILE_BYTES, DataError, File, Source, by_name, folder_names, is_hidden, readable

UTF8_NAME = 0x800  # flag bits of a member
ENCRYPTED = 0x1
UNICODE_PATH = 0x7075  # the extra field in which Info-ZIP keeps a name in UTF-8
READ_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
COMPRESSIONS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd"}
MADE_ON_UNIX = 3

#: How other archives begin: people take them for zips.
OTHER_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x1f\x8b": "a gzip file, perhaps a tar archive",
    b"BZh": "a bzip2 file, perhaps a tar archive",
    b"\xfd7zXZ": "an xz file, perhaps a tar archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard file, perhaps a tar archive",
}
TAR_AT, TAR = 257, b"ustar"

#: What Python's zipfile raises for a damaged archive or member.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError, NotImplementedError,
          RuntimeError, OSError, OverflowError)  # fmt: skip


class Archive(Source):
    """The files in a zip. A file's place is its number in the zip's directory."""

    def __init__(self, path: Path) -> None:
        """List the files. Raises `DataError` if this is no zip, or if it holds too many."""
        super().__init__(path)
        self._zip = _open(self)
        self._members = self._zip.infolist()
        self._check_size(len(self._members))
        self._hidden: set[str] = set()  # each hidden folder once, not all that lies in it
        found: dict[str, File] = {}
        for place, member in enumerate(self._members):
            name = _name(member)
            if name and self._is_usable(name, member):
                if name in found:
                    self.left_out.add("listed twice in the zip, the last is read", name)
                found[name] = File(name, self, place)
        self.files = by_name(found.values())
        for name in sorted(self._hidden):
            self.left_out.add("hidden", name)

    def size_of(self, file: File) -> int:  # noqa: ARG002
        return os.stat(self.path).st_size

    def read(self, file: File) -> bytes:
        try:
            with self._zip.open(self._members[int(file.place)]) as member:
                # zipfile reads no more than the zip declares, and this is at most the limit.
                return member.read()
        except DAMAGE as error:
            raise DataError(f"cannot read {file}: the zip is damaged there ({error}); make it again") from error

    def _is_usable(self, name: str, member: zipfile.ZipInfo) -> bool:
        """Whether a member is a file to be read. Notes its folders, and why it is left out."""
        *folders, last = name.rstrip("/").split("/")
        if ".." in (*folders, last):
            self.left_out.add("a name that leads out of the zip", name)
            return False
        for depth, part in enumerate((*folders, last), start=1):
            if is_hidden(part):
                self._hidden.add("/".join((*folders, last)[:depth]))
                return False
        inside = folder_names(name.rpartition("/")[0])
        self.folders |= {inside[:depth] for depth in range(1, len(inside) + 1)}
        if name.endswith("/"):
            return False
        reason = _why_unread(member)
        if reason:
            self.left_out.add(reason, name)
        return not reason


def _why_unread(member: zipfile.ZipInfo) -> str | None:
    """Return why a member's content cannot be read, by what the zip's directory says of it."""
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link in a zip"
    if member.flag_bits & ENCRYPTED:
        return "encrypted, unpack it with its password and give the folder"
    if member.compress_type not in READ_COMPRESSIONS:
        packed = COMPRESSIONS.get(member.compress_type, f"method {member.compress_type}")
        return f"compressed with {packed}, which is not read, unpack it and give the folder"
    if member.file_size == 0:
        return "an empty file"
    if member.file_size > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES >> 20} MiB"
    return None


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name from the archive's root on, with `/` between folders, whatever made the zip."""
    if member.flag_bits & UTF8_NAME:
        raw = member.orig_filename.encode("utf-8", "surrogateescape")
    else:
        raw = member.orig_filename.encode("cp437")  # the bytes as they are in the zip
        raw = _unicode_path(member.extra, raw) or raw
    raw = raw.replace(b"\\", b"/")  # which some tools on Windows write
    name = readable(raw, lambda raw: _decode_old(raw, member.create_system == MADE_ON_UNIX))
    name = re.sub(r"^(?:[A-Za-z]:)?/+", "", name)  # unzip takes absolute names as relative ones too
    return re.sub(r"/+", "/", re.sub(r"(?:^|(?<=/))\./", "", name))


def _decode_old(raw: bytes, made_on_unix: bool) -> str:
    """Decode a name that is not UTF-8: DOS and Windows wrote code page 437, older Unix systems Latin-1."""
    name = raw.decode("latin-1")
    return name if made_on_unix and name.isprintable() else raw.decode("cp437")


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """Return the UTF-8 name in a member's extra fields, if it was made for the name that the member has."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and length > 5 and struct.unpack_from("<xL", extra, 4)[0] == zlib.crc32(raw):
            return extra[9 : 4 + length]
        extra = extra[4 + length :]
    return None


def _open(archive: Source) -> zipfile.ZipFile:
    """Open a zip, or say what the file is instead and what to do. Raises `DataError`."""
    refused = f"{archive} is neither a folder nor a readable zip"
    try:
        with open(archive.path, "rb") as file:
            head = file.read(TAR_AT + len(TAR))
        other = next((kind for beginning, kind in OTHER_ARCHIVES.items() if head.startswith(beginning)), None)
        if other or head[TAR_AT:] == TAR:  # looked at first, as a tar may end with a zip that it holds
            raise DataError(f"{refused}: it is {other or 'a tar archive'}; unpack it and give the folder")
        return zipfile.ZipFile(archive.path)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"{refused}: a name in it is marked as UTF-8 and is not; unpack it and give the folder"
        ) from error
    except OSError as error:
        raise DataError(f"{refused}: {error.strerror or error}") from error
    except DAMAGE as error:
        if head.startswith(b"PK"):
            raise DataError(f"{refused}: it is damaged or incomplete ({error}); copy or download it again") from error
        raise DataError(f"{refused}: it is a file of another kind; give a folder or a zip") from error
