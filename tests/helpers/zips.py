"""Zips as other tools than Python's make them."""

import io
import struct
import zipfile
from pathlib import Path


class RawInfo(zipfile.ZipInfo):
    """A member whose name is written in these bytes, without the mark of UTF-8."""

    raw = b""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802, as zipfile calls it
        return self.raw, self.flag_bits


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_raw_names(path: Path, members: dict[bytes, bytes], made_on: int = 0, extra: bytes = b"") -> Path:
    """Write a zip whose names are these bytes. Systems: 0 is DOS and Windows, 3 is Unix."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (raw, data) in enumerate(members.items()):
            info = RawInfo(str(number))
            info.raw, info.create_system, info.extra = raw, made_on, extra
            archive.writestr(info, data)
    return path


def patched(data: bytes, at: int, value: int) -> bytes:
    """Set a 16-bit field of every member, in the local headers (at) and in the directory (at + 2)."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        start = changed.find(signature)
        while start >= 0:
            struct.pack_into("<H", changed, start + offset, value)
            start = changed.find(signature, start + 1)
    return bytes(changed)


def encrypted(path: Path, members: dict[str, bytes]) -> Path:
    """Write a zip whose members say that they are encrypted."""
    return _patched_zip(path, members, 6, 1)


def deflate64(path: Path, members: dict[str, bytes]) -> Path:
    """Write a zip whose members say that they are compressed with Deflate64, as Explorer does with large ones."""
    return _patched_zip(path, members, 8, 9)


def _patched_zip(path: Path, members: dict[str, bytes], at: int, value: int) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    path.write_bytes(patched(buffer.getvalue(), at, value))
    return path


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Make a zip in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()
