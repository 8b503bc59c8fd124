"""A zip as a source of files. Nothing is unpacked to disk, so names in it cannot lead out of a folder."""

import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from model.data.sources import (
    HIDDEN,
    LONGEST_SHOWN,
    MAX_FILE_BYTES,
    DataError,
    File,
    Source,
    by_name,
    folder_names,
    is_hidden,
    readable,
)

UTF8_NAME = 0x800  # flag bits of a member
ENCRYPTED = 0x1
UNICODE_PATH = 0x7075  # the extra field in which Info-ZIP keeps a name in UTF-8
READ_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BOUNDED_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # which zipfile unpacks only as far as it is asked to
PART_BYTES = 2**16  # that are unpacked at once; of other compressions so many packed ones are
PART_BYTES_ELSE = 2**12
MOST_FOLDERS = 50  # that a file may lie in
# Bytes of a name with its folders. A zip's names may have 64 KB, and to bring so much of Unicode into its normal form
# can take seconds, in which nothing else of the process runs.
LONGEST_NAME = 1024
COMPRESSIONS = {12: "bzip2", 14: "LZMA", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd"}
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

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """List the files, of the zip at this path or of `data`. Raises `DataError` if it is no zip, or lists too many.

        Of `data`, only members are read that are stored or packed by Deflate: those that are packed by other methods
        may unpack to any size before their end is known.
        """
        super().__init__(path)
        self._is_on_disk = data is None
        # A program was given a path, which may be a folder too; whoever sent the zip can only send another.
        self._anew = "give the folder" if data is None else "zip the files anew"
        self._compressions = READ_COMPRESSIONS if data is None else BOUNDED_COMPRESSIONS
        self._zip = self._open(data)
        self._members = self._zip.infolist()
        self._check_size(len(self._members))
        self._hidden: set[str] = set()  # each hidden folder once, not all that lies in it
        found: dict[str, File] = {}
        for place, member in enumerate(self._members):
            raw = _raw_name(member)
            if len(raw) > LONGEST_NAME:
                self.left_out.add(f"a name of more than {LONGEST_NAME} bytes", readable(raw[:LONGEST_SHOWN]))
                continue
            name = _name(raw, member)
            if name and self._is_usable(name, member):
                if name in found:
                    last = ", the last is read" if self._is_on_disk else ""
                    self.left_out.add(f"listed twice in the zip{last}", name)
                found[name] = File(name, self, place)
        self.files = by_name(found.values())
        for name in sorted(self._hidden):
            self.left_out.add(HIDDEN, name)

    @classmethod
    def of_bytes(cls, data: bytes) -> "Archive":
        """List the files of a zip that is in memory. Raises `DataError`."""
        return cls(Path("the zip"), data)

    def close(self) -> None:
        """Let go of the zip's bytes. Its files refer to it and it to them, so it lives until garbage is collected."""
        self._zip.close()

    def size_of(self, file: File) -> int:
        if self._is_on_disk:
            return os.stat(self.path).st_size
        return self._members[int(file.place)].file_size

    def read(self, file: File) -> bytes:
        member = self._members[int(file.place)]
        try:
            with self._zip.open(member) as packed:
                # In parts: if it were asked for all, zipfile would unpack all there is, whatever the zip declares.
                size = PART_BYTES if member.compress_type in BOUNDED_COMPRESSIONS else PART_BYTES_ELSE
                parts, left = list[bytes](), member.file_size
                while left and (part := packed.read(min(left, size))):
                    parts.append(part)
                    left -= len(part)
        except DAMAGE as error:
            raise DataError(f"cannot read {file}: the zip is damaged there ({error}); make it again") from error
        if left:
            raise DataError(f"cannot read {file}: the zip ends within it; make it again")
        return b"".join(parts)

    def _open(self, data: bytes | None) -> zipfile.ZipFile:
        """Open the zip, or say what the file is instead and what to do. Raises `DataError`."""
        refused = f"{self} is neither a folder nor a readable zip" if self._is_on_disk else f"{self} cannot be read"
        try:
            if data is None and self.path.exists() and not self.path.is_file():
                raise DataError(f"{refused}: it is a pipe or device")
            with open(self.path, "rb") if data is None else io.BytesIO(data) as file:
                head = file.read(TAR_AT + len(TAR))
            other = next((kind for beginning, kind in OTHER_ARCHIVES.items() if head.startswith(beginning)), None)
            if other or head[TAR_AT:] == TAR:  # looked at first, as a tar may end with a zip that it holds
                raise DataError(f"{refused}: it is {other or 'a tar archive'}; unpack it and {self._anew}")
            return zipfile.ZipFile(self.path if data is None else io.BytesIO(data))
        except DataError:
            raise
        except UnicodeDecodeError as error:
            raise DataError(
                f"{refused}: a name in it is marked as UTF-8 and is not; unpack it and {self._anew}"
            ) from error
        except OSError as error:
            raise DataError(f"{refused}: {error.strerror or error}") from error
        except DAMAGE as error:
            if head.startswith(b"PK"):
                again = "copy or download it again" if self._is_on_disk else "send the whole file"
                raise DataError(f"{refused}: it is damaged or incomplete ({error}); {again}") from error
            instead = "give a folder or a zip" if self._is_on_disk else "send a zip"
            raise DataError(f"{refused}: it is a file of another kind; {instead}") from error

    def _is_usable(self, name: str, member: zipfile.ZipInfo) -> bool:
        """Whether a member is a file to be read. Notes its folders, and why it is left out."""
        *folders, last = name.rstrip("/").split("/")
        if len(folders) > MOST_FOLDERS:
            self.left_out.add(f"in more than {MOST_FOLDERS} folders", name)
            return False
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
        reason = self._why_unread(member)
        if reason:
            self.left_out.add(reason, name)
        return not reason

    def _why_unread(self, member: zipfile.ZipInfo) -> str | None:
        """Return why a member's content cannot be read, by what the zip's directory says of it."""
        if stat.S_ISLNK(member.external_attr >> 16):
            return "a link in a zip"
        if member.flag_bits & ENCRYPTED:
            return f"encrypted, unpack it with its password and {self._anew}"
        if member.compress_type not in self._compressions:
            packed = COMPRESSIONS.get(member.compress_type, f"method {member.compress_type}")
            return f"compressed with {packed}, which is not read, unpack it and {self._anew}"
        if member.file_size == 0:
            return "an empty file"
        if member.file_size > MAX_FILE_BYTES:
            return f"larger than {MAX_FILE_BYTES >> 20} MiB"
        return None


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    """A member's name as the zip holds it, in UTF-8 if it does so in two encodings."""
    if member.flag_bits & UTF8_NAME:
        return member.orig_filename.encode("utf-8", "surrogateescape")
    raw = member.orig_filename.encode("cp437")  # the bytes as they are in the zip
    return _unicode_path(member.extra, raw) or raw


def _name(raw: bytes, member: zipfile.ZipInfo) -> str:
    """A member's name from the archive's root on, with `/` between folders, whatever made the zip."""
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
    at, made_for = 0, struct.pack("<L", zlib.crc32(raw))
    while len(extra) - at >= 4:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == UNICODE_PATH and 5 < length <= len(extra) - at - 4 and extra[at + 5 : at + 9] == made_for:
            return extra[at + 9 : at + 4 + length]
        at += 4 + length
    return None
