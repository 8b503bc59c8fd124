"""The files of a folder or archive: their names as people read them, what is left out and why, and their bytes."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.data.unicode import compose

MAX_FILES = 1_000_000  # files and folders in one folder or archive
MAX_FILE_BYTES = 2**28  # 256 MiB; a larger file is no picture that is meant for a classifier

#: What systems and tools leave beside people's own files. Names that begin with a dot are hidden too.
HIDDEN_NAMES = {
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}


HIDDEN = "hidden"  # why such files are left out

#: Unicode's control characters, and its separators of lines and paragraphs.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST_SHOWN = 100  # characters of a name in a message


class DataError(ValueError):
    """Data that is missing, in another layout than expected, or too small; the message says what is needed."""


class LeftOut:
    """What was not read of a folder or archive, by reason; `str` makes one line of it."""

    EXAMPLES = 3  # names that the line holds for each reason

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        return self.without()

    def without(self, *reasons: str) -> str:
        """Describe what was left out for other reasons than these, in one line."""
        parts = []
        for reason, count in self._counts.items():
            if reason in reasons:
                continue
            names = ", ".join(self._examples[reason])
            more = ", ..." if count > self.EXAMPLES else ""
            parts.append(f"{reason}: {names}" if count == 1 else f"{reason}: {count} ({names}{more})")
        return "; ".join(parts)

    def add(self, reason: str, name: str) -> None:
        """Note that a file or folder is left out."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < self.EXAMPLES:
            examples.append(shown(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..."))


class Source(ABC):
    """A folder or archive, listed: its files, sorted by name, and its folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[File] = []
        self.folders: set[tuple[str, ...]] = set()
        self.left_out = LeftOut()

    def __str__(self) -> str:
        return shown(readable(os.fsencode(self.path)))

    @property
    def name(self) -> str:
        """The name of the folder or archive, without a suffix."""
        return readable(os.fsencode(self.path.stem or self.path.resolve().stem))

    @abstractmethod
    def size_of(self, file: "File") -> int:
        """The size on disk of one of the files, or of the archive that it is in, in bytes."""

    @abstractmethod
    def read(self, file: "File") -> bytes:
        """Read one of the files. Raises `DataError` if it cannot be read."""

    def _check_size(self, number: int) -> None:
        if number > MAX_FILES:
            raise DataError(f"{self} holds more than {MAX_FILES:,} files and folders: give one with fewer")


@dataclass(frozen=True, eq=False)
class File:
    """A file in a folder or archive."""

    name: str  # from the source on, as it is written: CLASS/1.jpg; print `str` of the file, or `shown` of this
    source: Source
    place: str | int  # where the source finds it

    def __str__(self) -> str:
        name = shown(self.name)
        return f"{str(self.source).rstrip('/')}/{name}" if str(self.source) != "." else name

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that the file lies in, from the source on: ("CLASS",) for CLASS/1.jpg."""
        return folder_names(self.name.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """The last suffix of the name, in lower case: `.jpg`; empty if there is none."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """Read the file. Raises `DataError`."""
        return self.source.read(self)


def by_name(files: Iterable[File]) -> list[File]:
    """Sort files by name."""
    return sorted(files, key=lambda file: file.name)


def folder_names(path: str) -> tuple[str, ...]:
    """Split a path into the names of its folders, without the blanks around each: "a/b " -> ("a", "b")."""
    return tuple(part.strip() or part for part in path.split("/")) if path else ()


def is_hidden(name: str) -> bool:
    """Whether a file or folder with this name is hidden, or belongs to a system or tool rather than to people."""
    return name.startswith(".") or name.lower() in HIDDEN_NAMES


def readable(raw: bytes, legacy: Callable[[bytes], str] | None = None) -> str:
    """Decode a file's name to text, in Unicode's normal form C.

    Names that are not UTF-8 were written by older systems: `legacy` decodes them, by default as Latin-1.
    """
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = legacy(raw) if legacy else raw.decode("latin-1")
    return compose(name)


def shown(name: str) -> str:
    """A name with its control characters as escapes, so that it is always one line and cannot steer a terminal."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), name)
