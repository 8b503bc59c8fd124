"""Photos in folders of classes: listing them from a folder or zip, their splits, and decoding them.

The layout is `[anything/]CLASS/IMAGE.jpg`, or `[anything/]GROUP/CLASS/IMAGE.jpg` where classes belong together, as
five kinds of apples do. Splits keep groups whole. Images are JPEG, PNG or WEBP. They stay on disk until they are used.
"""

import contextlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from model.data.omniglot import SPLITS, DataError
from model.images.formats import FORMATS, SUFFIXES
from model.images.photos import Pixels, to_pixels

VALIDATION_EVERY = 5  # every fifth group, by name, is for validation and never trained on


class PhotoFile(NamedTuple):
    """An image file: its name within its folder or zip, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Photos:
    """A data set of C classes of photos, as names of files."""

    sources: tuple[Path, ...]  # folders and zips
    files: tuple[tuple[tuple[int, str], ...], ...]  # for each class, its files: index of the source, name within it
    names: tuple[str, ...]  # one for each class, `GROUP/CLASS` or `CLASS`
    groups: tuple[str, ...]  # one for each class

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> Tensor:
        """The number of photos of each class, [C] int64."""
        return torch.tensor([len(files) for files in self.files])

    @property
    def alphabets(self) -> tuple[str, ...]:
        """The group of each class, under the name that `Drawings` has for it."""
        return self.groups

    def subset(self, classes: list[int]) -> "Photos":
        """Return the data set with these classes alone, in this order."""
        return Photos(
            self.sources,
            tuple(self.files[c] for c in classes),
            tuple(self.names[c] for c in classes),
            tuple(self.groups[c] for c in classes),
        )

    def by_source(self) -> list["Photos"]:
        """Return one data set for each folder or zip, with its classes."""
        origins = [files[0][0] for files in self.files]
        return [self.subset([c for c, o in enumerate(origins) if o == origin]) for origin in sorted(set(origins))]

    def split(self, name: str) -> "Photos":
        """Return the split `all`, `train` or `validation`; no group is in both of the last two.

        Raises `DataError` for another name, or if the split would have no class.
        """
        if name not in SPLITS:
            raise DataError(f"no split called {name!r}; there are {', '.join(SPLITS)}")
        if name == "all":
            return self
        order = {group: place for place, group in enumerate(sorted(set(self.groups)))}
        wanted = [
            c for c, group in enumerate(self.groups) if (order[group] % VALIDATION_EVERY == 0) == (name == "validation")
        ]
        if not wanted:
            raise DataError(f"too few groups of classes for a {name} split: use --split all")
        return self.subset(wanted)

    def pixels(self, label: int, place: int, resolution: int) -> Tensor:
        """Decode photo number `place` of a class for a backbone: [R,R,3] uint8. Raises `DataError`."""
        source, name = self.files[label][place]
        path = self.sources[source]
        data = (path / name).read_bytes() if path.is_dir() else zipfile.ZipFile(path).read(name)
        return torch.from_numpy(decode_photo(PhotoFile(name, data), resolution))

    def photo_files(self, label: int) -> Iterator[PhotoFile]:
        """Read the files of one class."""
        with contextlib.ExitStack() as opened:
            archives: dict[int, zipfile.ZipFile] = {}
            for source, name in self.files[label]:
                path = self.sources[source]
                if path.is_dir():
                    yield PhotoFile(name, (path / name).read_bytes())
                    continue
                if source not in archives:
                    archives[source] = opened.enter_context(zipfile.ZipFile(path))
                yield PhotoFile(name, archives[source].read(name))


def load_photos(*paths: str | Path) -> Photos:
    """List the photos of folders or zips. With several, class names begin with the name of their folder or zip.

    Raises `DataError` if a path does not exist, or none holds an image in the layout above.
    """
    sources = tuple(Path(path) for path in paths)
    classes: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for number, source in enumerate(sources):
        names = _image_names(source)
        folders = {name: PurePosixPath(name).parts[:-1] for name in names}
        # Folders that all images share lie above the classes.
        above = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders.values(), strict=False))))
        if above and any(len(parts) == above for parts in folders.values()):
            above -= 1  # images lie in the last shared folder itself, so it is a class
        for name, parts in folders.items():
            inside = parts[above:][-2:]
            if not inside:
                continue
            key = (source.stem, *inside) if len(sources) > 1 else inside
            classes.setdefault(key, []).append((number, name))
    if not classes:
        raise DataError(f"{', '.join(map(str, sources))}: no photo as CLASS/IMAGE.jpg; put each class in a folder")
    keys = sorted(classes)
    prefix = 2 if len(sources) > 1 else 1
    return Photos(
        sources,
        tuple(tuple(sorted(classes[key])) for key in keys),
        tuple("/".join(key) for key in keys),
        tuple("/".join(key[:prefix]) for key in keys),
    )


def _image_names(source: Path) -> list[str]:
    """List the images of a folder or zip, with `/` between folders."""
    if source.is_dir():
        names = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    elif source.exists():
        try:
            with zipfile.ZipFile(source) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise DataError(f"{source} is neither a folder nor a readable zip: {error}") from error
    else:
        raise DataError(f"no data at {source}: give a folder or zip of class folders (CLASS/IMAGE.jpg)")
    return sorted(name for name in names if name.lower().endswith(SUFFIXES) and "__MACOSX" not in name)


def decode_photo(photo: PhotoFile, resolution: int) -> Pixels:
    """Decode an image file and crop it for a backbone: [R,R,3] uint8. Raises `DataError` if it is no image."""
    try:
        with Image.open(io.BytesIO(photo.data), formats=FORMATS) as picture:
            return to_pixels(picture, resolution)
    except Exception as error:
        raise DataError(f"cannot use {photo.name}: {error}; replace or remove it") from error
