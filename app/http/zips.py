"""Zips of pictures as request bodies: unpacked in memory, within the limits of any other body."""

from app.problems import Problem
from app.settings import Settings
from app.tasks.zip_files import open_zip, read_files
from model.data.classes import NO_PICTURE, classes_of, find_pictures
from model.data.sources import HIDDEN, DataError, File, Source

KINDS = ("application/zip", "application/x-zip-compressed", "application/x-zip")
AS_FOLDERS = "send a zip with a folder of pictures for each class"


def read_labelled(data: bytes, settings: Settings) -> tuple[list[bytes], list[str], list[str]]:
    """The pictures in a zip of folders, their labels, and their names in the zip.

    A picture's label is its folder's name, or GROUP/CLASS where the folders lie in groups. Raises `Problem` 413 or 422.
    """
    with open_zip(data, settings) as source:
        try:
            named = classes_of(source).named()
        except DataError as error:
            raise Problem(422, f"{error}; {AS_FOLDERS}") from None
        labelled = [("/".join(name), file) for name, files in named.items() for file in files]
        files = [file for _, file in labelled]
        return _read(source, files, settings), [label for label, _ in labelled], [file.name for file in files]


def read_pictures(data: bytes, settings: Settings) -> tuple[list[bytes], list[str]]:
    """The pictures in a zip, in whatever folders, and their names in the zip. Raises `Problem` 413 or 422."""
    with open_zip(data, settings) as source:
        files = find_pictures(source)
        return _read(source, files, settings), [file.name for file in files]


def _read(source: Source, files: list[File], settings: Settings) -> list[bytes]:
    """Read the pictures of a zip, of which none may have been left out. Raises `Problem` 413 or 422."""
    if left_out := source.left_out.without(HIDDEN, NO_PICTURE):
        raise Problem(422, f"the zip holds what cannot be read: {left_out}; replace or remove it, and zip again")
    if len(files) > settings.max_images:
        raise Problem(422, f"{len(files)} images in the zip, but one request may hold {settings.max_images}")
    if not files:
        raise Problem(422, f"no images: the zip holds no pictures; {source.left_out or 'it is empty'}")
    return read_files(files, settings)
