"""Zips of pictures as bodies: read in memory, by the one reader of folders and zips, within a request's limits."""

from app.problems import Problem
from app.settings import Settings
from model.data.archive import Archive
from model.data.classes import NO_PICTURE, classes_of, find_pictures
from model.data.sources import HIDDEN, DataError, File, Source

ZIP = b"PK\x03\x04"  # how a zip begins
KINDS = ("application/zip", "application/x-zip-compressed", "application/x-zip")
DIRECTORY_ENTRY = b"PK\x01\x02"
FILES_AN_IMAGE = 4  # that a zip may list: systems leave files of their own beside each picture, and folders count too
AS_FOLDERS = "send a zip with a folder of pictures for each class"


def read_labelled(data: bytes, settings: Settings) -> tuple[list[bytes], list[str], list[str]]:
    """The pictures in a zip of folders, their labels, and their names in the zip.

    A picture's label is its folder's name, or GROUP/CLASS where the folders lie in groups. Raises `Problem` 413 or 422.
    """
    source = open_zip(data, settings)
    try:
        named = classes_of(source).named()
    except DataError as error:
        raise Problem(422, f"{error}; {AS_FOLDERS}") from None
    labelled = [("/".join(name), file) for name, files in named.items() for file in files]
    files = [file for _, file in labelled]
    return _read(source, files, settings), [label for label, _ in labelled], [file.name for file in files]


def read_pictures(data: bytes, settings: Settings) -> tuple[list[bytes], list[str]]:
    """The pictures in a zip, in whatever folders, and their names in the zip. Raises `Problem` 413 or 422."""
    source = open_zip(data, settings)
    files = find_pictures(source)
    return _read(source, files, settings), [file.name for file in files]


def open_zip(data: bytes, settings: Settings) -> Archive:
    """List the files of a zip. Raises `Problem` 422 for what is no zip, or one that lists too many."""
    if not data:
        raise Problem(422, f"the zip is empty (0 bytes); {AS_FOLDERS}")
    most = FILES_AN_IMAGE * settings.max_images + 100
    if data.count(DIRECTORY_ENTRY) > most:  # before any is listed, which takes memory
        raise Problem(422, f"the zip lists more than {most} files; send at most {settings.max_images} pictures")
    try:
        return Archive.of_bytes(data)
    except DataError as error:
        raise Problem(422, str(error)) from None


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


def _read(source: Source, files: list[File], settings: Settings) -> list[bytes]:
    """Read the pictures of a zip, of which none may have been left out. Raises `Problem` 413 or 422."""
    if left_out := source.left_out.without(HIDDEN, NO_PICTURE):
        raise Problem(422, f"the zip holds what cannot be read: {left_out}; replace or remove it, and zip again")
    if len(files) > settings.max_images:
        raise Problem(422, f"{len(files)} images in the zip, but one request may hold {settings.max_images}")
    if not files:
        raise Problem(422, f"no images: the zip holds no pictures; {source.left_out or 'it is empty'}")
    return read_files(files, settings)
