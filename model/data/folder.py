"""A folder on disk as a source of files. Linked folders are followed; links in a circle and devices are not."""

import os
import stat
from pathlib import Path

from model.data.sources import (
    HIDDEN,
    MAX_FILE_BYTES,
    DataError,
    File,
    Source,
    by_name,
    folder_names,
    is_hidden,
    readable,
)
from model.regular_files import read_regular


class Folder(Source):
    """The files in a folder and the folders below it. A file's place is its path below the folder."""

    def __init__(self, path: Path) -> None:
        """List the files. Raises `DataError` if the folder cannot be listed, or holds too many."""
        super().__init__(path)
        try:
            self._list()
        except OSError as error:
            raise DataError(f"{self} cannot be listed: {error.strerror}; give a folder that you may read") from error
        self.files = by_name(self.files)

    @classmethod
    def of_one_file(cls, path: Path) -> File:
        """Return a file on disk that was given by its own name."""
        source = cls.__new__(cls)
        Source.__init__(source, path.parent)
        return File(readable(os.fsencode(path.name)), source, path.name)

    def size_of(self, file: File) -> int:
        return os.stat(os.path.join(self.path, str(file.place))).st_size

    def read(self, file: File) -> bytes:
        try:
            return read_file(os.path.join(self.path, str(file.place)))
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}") from error

    def _list(self) -> None:
        # Folders that contain this one: a link to one of them, as to / or to .., would lead here again.
        real = self.path.resolve()
        above = frozenset(_identity(os.stat(folder)) for folder in (real, *real.parents))
        waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [("", "", above)]
        while waiting:
            place, name, ancestors = waiting.pop()
            try:
                with os.scandir(os.path.join(self.path, place)) as found:
                    entries = list(found)
            except OSError as error:
                if not place:
                    raise
                self.left_out.add(f"cannot be listed, {error.strerror}", name)
                continue
            for entry in entries:
                inner = os.path.join(place, entry.name)
                inner_name = f"{name}/{readable(os.fsencode(entry.name))}".lstrip("/")
                if is_hidden(entry.name):
                    self.left_out.add(HIDDEN, inner_name)
                    continue
                try:
                    found_there = entry.stat()
                except OSError as error:
                    broken = "a link that leads nowhere" if entry.is_symlink() else f"cannot be read, {error.strerror}"
                    self.left_out.add(broken, inner_name)
                    continue
                if not stat.S_ISDIR(found_there.st_mode):
                    self._add_file(inner, inner_name, found_there)
                elif _identity(found_there) in ancestors:
                    self.left_out.add("a link to a folder around it", inner_name)
                else:
                    self.folders.add(folder_names(inner_name))
                    waiting.append((inner, inner_name, ancestors | {_identity(found_there)}))
                self._check_size(len(self.files) + len(self.folders))

    def _add_file(self, place: str, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            self.left_out.add("a device, pipe or socket", name)
        elif found.st_size == 0:
            self.left_out.add("an empty file", name)
        elif found.st_size > MAX_FILE_BYTES:
            self.left_out.add(f"larger than {MAX_FILE_BYTES >> 20} MiB", name)
        else:
            self.files.append(File(name, self, place))


def read_file(path: str | Path) -> bytes:
    """Read a file that should be a picture. Raises `OSError` at once for a pipe, a device, and a file too large."""
    return read_regular(path, MAX_FILE_BYTES)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
