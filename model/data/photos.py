"""Photos in folders of classes: listing them from a folder or zip, their splits, and decoding them.

The layout is `[anything/]CLASS/IMAGE.jpg`, or `[anything/]GROUP/CLASS/IMAGE.jpg` where classes belong together, as
five kinds of apples do. Splits keep groups whole. Images are JPEG, PNG or WEBP. They stay on disk until they are used.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.data.classes import find_classes, read_picture
from model.data.sources import File, Source
from model.data.splits import check_split, held_back
from model.images.photos import Pixels, to_pixels


@dataclass(frozen=True)
class Photos:
    """A data set of C classes of photos, as files."""

    sources: tuple[Source, ...]  # folders and zips
    files: tuple[tuple[File, ...], ...]  # of each class
    names: tuple[str, ...]  # one for each class, `GROUP/CLASS` or `CLASS`
    groups: tuple[str, ...]  # one for each class
    left_out: tuple[str, ...] = ()  # what was not read and why, a line for each folder or zip

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
            self.left_out,
        )

    def first(self, number: int) -> "Photos":
        """Return the data set with the first so many photos of each class alone."""
        files = tuple(own[:number] for own in self.files)
        return Photos(self.sources, files, self.names, self.groups, self.left_out)

    def by_source(self) -> list["Photos"]:
        """Return one data set for each folder or zip, with its classes."""
        origins = [self.sources.index(files[0].source) for files in self.files]
        return [self.subset([c for c, o in enumerate(origins) if o == origin]) for origin in sorted(set(origins))]

    @property
    def source_name(self) -> str:
        """The name of the folder or zip, with its suffix, that the first class comes from."""
        return self.files[0][0].source.path.name

    def split(self, name: str) -> "Photos":
        """Return the split `all`, `train` or `validation`; no group is in both of the last two.

        Each source is split by itself. Raises `DataError` for another name, or if a source has too few classes.
        """
        check_split(name)
        if name == "all":
            return self
        for_validation: dict[str, bool] = {}
        for part in self.by_source():
            for_validation |= zip(part.names, held_back(part.groups), strict=True)
        return self.subset([c for c, own in enumerate(self.names) if for_validation[own] == (name == "validation")])

    def pixels(self, label: int, place: int, resolution: int) -> Tensor:
        """Decode photo number `place` of a class for a backbone: [R,R,3] uint8. Raises `DataError`."""
        return torch.from_numpy(decode_photo(self.files[label][place], resolution))


def load_photos(*paths: str | Path) -> Photos:
    """List the photos of folders or zips. With several, class names begin with the name of their folder or zip.

    Raises `DataError` if a path does not exist, or none holds an image in the layout above.
    """
    sources = [find_classes(path) for path in paths]
    classes: dict[tuple[str, ...], list[File]] = {}
    for found in sources:
        for name, files in found.named().items():
            classes.setdefault((found.source.name, *name) if len(sources) > 1 else name, []).extend(files)
    keys = sorted(classes)
    prefix = 2 if len(sources) > 1 else 1
    return Photos(
        tuple(found.source for found in sources),
        tuple(tuple(classes[key]) for key in keys),
        tuple("/".join(key) for key in keys),
        tuple("/".join(key[:prefix]) for key in keys),
        tuple(f"{found.source}: {found.left_out}" for found in sources if found.left_out),
    )


def decode_photo(file: File, resolution: int) -> Pixels:
    """Decode an image file and crop it for a backbone: [R,R,3] uint8. Raises `DataError` if it is no image."""
    return read_picture(file, lambda picture: to_pixels(picture, resolution))
