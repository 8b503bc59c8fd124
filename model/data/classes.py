"""Pictures by class: the one reader of folders and zips of pictures, which every command uses.

Classes are folders: `CLASS/IMAGE.jpg`, or `GROUP/CLASS/IMAGE.jpg` where classes belong together. Folders around all of
them do not count, as the one that a zip often has. Pictures in folders below a class belong to the class.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from PIL import Image

from model.data.archive import Archive
from model.data.folder import Folder
from model.data.sources import DataError, File, Source, by_name
from model.images.drawings import NoDrawing
from model.images.files import BadPicture, read
from model.images.formats import SUFFIXES

Result = TypeVar("Result")

#: Suffixes of other pictures: they are named as such, since people see pictures there.
OTHER_PICTURES = (
    *(".svg", ".jp2", ".jxl", ".psd", ".ico", ".pdf"),
    *(".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2"),
)
NEGATIVES = "_negatives"  # the folder of what is none of the classes, where a task is made of folders
NO_PICTURE = "not a picture by its name"  # why such files are left out
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


@dataclass(frozen=True)
class ClassFolders:
    """The pictures of a folder or zip, by class."""

    source: Source
    classes: dict[tuple[str, ...], list[File]]  # by the folders that lead to the class, sorted
    around: int  # how many of those folders lie around all classes
    left_out: str  # what was left out, and why, in one line; empty if nothing was

    def named(self) -> dict[tuple[str, ...], list[File]]:
        """Return the pictures of each class by (GROUP, CLASS), or (CLASS,)."""
        named: dict[tuple[str, ...], list[File]] = {}
        for folders, files in self.classes.items():
            named.setdefault(folders[self.around :][-2:], []).extend(files)
        return {name: by_name(files) for name, files in named.items()}


def open_source(path: str | Path) -> Source:
    """List the files of a folder or zip. Raises `DataError` if it is neither, or cannot be read."""
    path = Path(path)
    try:
        if not os.path.lexists(path):
            path = Path(os.path.expanduser(path))
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({getattr(error, 'strerror', None) or error})"
        raise DataError(
            f"no data at {path}{reason}: give a folder or zip that holds a folder of pictures for each class"
        ) from error
    if stat.S_ISDIR(found.st_mode):
        return Folder(path)
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is neither a folder nor a readable zip but a pipe or device: give a folder or zip")
    return Archive(path)


def find_pictures(source: Source) -> list[File]:
    """Return the pictures of a source, by the suffixes of their names. Other files are noted as left out."""
    pictures = []
    for file in source.files:
        if file.suffix in SUFFIXES:
            pictures.append(file)
        elif file.suffix in OTHER_PICTURES:
            source.left_out.add(f"a format that is not read ({file.suffix}), convert to JPEG or PNG", file.name)
        elif file.suffix in ARCHIVES:
            source.left_out.add("an archive inside, unpack it", file.name)
        else:
            source.left_out.add(NO_PICTURE, file.name)
    return pictures


def read_picture(
    file: File, use: Callable[[Image.Image], Result], draft: Callable[[Image.Image], object] | None = None
) -> Result:
    """Open a picture and return what `use` makes of it; `draft` is that of `model.images.files.read`.

    Raises `DataError`, whatever is wrong with the file.
    """
    data = file.read()
    try:
        return cast(Result, read(data, use, draft=draft))
    except NoDrawing as error:
        raise DataError(f"cannot use {file}: it shows no drawing: {error}; replace or remove it") from error
    except BadPicture as error:
        raise DataError(f"cannot use {file}: it {error}") from error


def find_classes(path: str | Path) -> ClassFolders:
    """Return the pictures of a folder or zip by class.

    Raises `DataError` if the path is neither, or holds no folder of pictures.
    """
    return classes_of(open_source(path))


def classes_of(source: Source) -> ClassFolders:
    """Return the pictures of a source by class. Raises `DataError` if it holds no folder of pictures."""
    pictures = find_pictures(source)
    folders = {file.folders for file in pictures} - {()}
    around, level = find_level(folders)
    classes: dict[tuple[str, ...], list[File]] = {}
    leading = {above[:n] for above in folders for n in range(min(len(above), level))}
    for file in pictures:
        if file.folders in leading or not file.folders:
            source.left_out.add("a picture outside of a class folder", file.name)
        else:
            classes.setdefault(file.folders[:level], []).append(file)
    leading |= set(classes)
    for empty in sorted(folder for folder in source.folders if len(folder) <= level and folder not in leading):
        if empty[:-1] in leading:  # its name says it for the folders below it
            source.left_out.add("a folder without a picture that can be read", "/".join(empty))
    if not classes:
        left_out = f"; left out: {source.left_out}" if source.left_out else ""
        raise DataError(
            f"{source}: no picture as CLASS/IMAGE.jpg; put the pictures of each class in a folder (their names end in "
            f"{', '.join(SUFFIXES)}){left_out}"
        )
    return ClassFolders(source, dict(sorted(classes.items())), around, str(source.left_out))


def is_of_negatives(label: str) -> bool:
    """Whether pictures with this label, CLASS or GROUP/CLASS, are of none of the classes."""
    return NEGATIVES in label.split("/")


def find_level(holding: Iterable[tuple[str, ...]]) -> tuple[int, int]:
    """Return how many folders lie around all classes, and how deep the classes lie: (1, 2) for pets/cat/1.jpg alone.

    `holding` are the folders that hold pictures. Classes lie at the first level at which half of the folders, or more,
    hold pictures themselves. So a few pictures above or below the others do not make other classes of them.
    """
    holding = set(holding)
    deepest = max((len(folders) for folders in holding), default=0)
    around = 0
    for level in range(1, deepest):
        here = {folders[:level] for folders in holding if len(folders) >= level}
        pictures_here = len(here & holding)
        if len(here) == 1 and around == level - 1:
            if next(iter(here))[-1] == NEGATIVES:
                return around, level
            inner = {folders[: level + 1] for folders in holding if len(folders) > level}
            if pictures_here and len(inner) < 2:
                return around, level
            around = level
        elif 2 * pictures_here >= len(here):
            return around, level
    return around, deepest
