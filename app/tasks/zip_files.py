"""Zips that callers send: opened and read in memory, within the limits of a request."""

import contextlib
from collections.abc import Iterator

from app.problems import Problem
from app.settings import Settings
from model.data.archive import Archive
from model.data.sources import DataError, File

ZIP = b"PK\x03\x04"  # how a zip begins
DIRECTORY_ENTRY = b"PK\x01\x02"
FILES_AN_IMAGE = 4  # that a zip may list: systems leave files of their own beside each picture, and folders count too


@contextlib.contextmanager
def open_zip(data: bytes, settings: Settings) -> Iterator[Archive]:
    """List the files of a zip, which can be read while it is open.

    Raises `Problem` 422 for what is no zip, or one that lists too many.
    """
    if not data:
        raise Problem(422, "the zip is empty (0 bytes): send the whole file")
    most = FILES_AN_IMAGE * settings.max_images + 100
    if data.count(DIRECTORY_ENTRY) > most:  # before any is listed, which takes memory
        raise Problem(422, f"the zip lists more than {most} files; send at most {settings.max_images} pictures")
    try:
        archive = Archive.of_bytes(data)
    except DataError as error:
        raise Problem(422, str(error)) from None
    with contextlib.closing(archive):
        yield archive


def read_files(files: list[File], settings: Settings) -> list[bytes]:
    """Read files of a zip, which may hold as much as a body that is not compressed. Raises `Problem` 413 or 422."""
    size = sum(file.source.size_of(file) for file in files)
    if size > settings.max_body_bytes:
        raise Problem(
            413, f"the zip holds {size} bytes unpacked, over the limit of {settings.max_body_bytes}; send fewer files"
        )
    try:
        return [file.read() for file in files]
    except DataError as error:
        raise Problem(422, str(error)) from None
