"""Photos in folders of classes, from a folder or a zip, and what a backbone makes of them, kept on disk.

Layout: `[anything/]CLASS/IMAGE.jpg`, or `[anything/]GROUP/CLASS/IMAGE.jpg` where classes belong
together as apples of five kinds do: splits are made of whole groups. JPEG, PNG and WEBP.

Pictures stay on disk. What is computed from one is the backbone's features of a few views: as it is, and
`VIEWS - 1` times cropped, mirrored and tinted at random, as training's augmentation.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.backbones import Backbone, Loaded
from model.data.omniglot import SPLITS, DataError
from model.photos import Pixels, to_pixels

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
VALIDATE_EVERY = 5  # one group in five, by name, is never trained on
PICTURES_AT_ONCE = 8
FRAMING = (
    "centre square 1"  # to be raised when `model.photos` or the augmentation changes: kept features are then stale
)
CACHE = Path(".cache/photos")


class Picture(NamedTuple):
    """A file's content, and where it belongs."""

    label: int
    place: int
    name: str
    data: bytes


@dataclass(frozen=True)
class Photos:
    """Classes of pictures, by the names of their files.

    `counts` [C] says how many each class has; `groups` which other classes it belongs with.
    """

    sources: tuple[Path, ...]  # folders and zips
    files: tuple[tuple[tuple[int, str], ...], ...]  # of each class: which source, and the name inside
    names: tuple[str, ...]  # of each class, `GROUP/CLASS` or `CLASS`
    groups: tuple[str, ...]  # of each class

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> Tensor:
        return torch.tensor([len(files) for files in self.files])

    @property
    def alphabets(self) -> tuple[str, ...]:
        """What `Drawings` calls a class's group."""
        return self.groups

    def only(self, classes: list[int]) -> "Photos":
        """These classes, in this order."""
        return Photos(
            self.sources,
            tuple(self.files[c] for c in classes),
            tuple(self.names[c] for c in classes),
            tuple(self.groups[c] for c in classes),
        )

    def by_source(self) -> list["Photos"]:
        """The classes of each folder or zip by themselves."""
        origins = [files[0][0] for files in self.files]
        return [self.only([c for c, o in enumerate(origins) if o == origin]) for origin in sorted(set(origins))]

    def split(self, name: str) -> "Photos":
        """`all`, or `train` and `validation`, which divide by group. Raises `DataError`."""
        if name not in SPLITS:
            raise DataError(f"no split called {name!r}; there are {', '.join(SPLITS)}")
        if name == "all":
            return self
        order = {group: place for place, group in enumerate(sorted(set(self.groups)))}
        wanted = [
            c for c, group in enumerate(self.groups) if (order[group] % VALIDATE_EVERY == 0) == (name == "validation")
        ]
        if not wanted:
            raise DataError(f"too few groups of classes for a {name} split: use --split all")
        return self.only(wanted)

    def pixels(self, label: int, place: int, resolution: int) -> Tensor:
        """One picture as a backbone takes it, [R,R,3] uint8. Raises `DataError`."""
        source, name = self.files[label][place]
        path = self.sources[source]
        data = (path / name).read_bytes() if path.is_dir() else zipfile.ZipFile(path).read(name)
        return torch.from_numpy(decoded(data, name, resolution))

    def pictures(self) -> Iterator["Picture"]:
        """Class by class."""
        archives = {n: zipfile.ZipFile(path) for n, path in enumerate(self.sources) if path.is_file()}
        try:
            for c, files in enumerate(self.files):
                for place, (source, name) in enumerate(files):
                    inside = archives.get(source)
                    data = inside.read(name) if inside else (self.sources[source] / name).read_bytes()
                    yield Picture(c, place, name, data)
        finally:
            for archive in archives.values():
                archive.close()


def load_photos(*paths: str | Path) -> Photos:
    """List the pictures of folders or zips; with several, names begin with the folder's or zip's own.

    Raises `DataError` if there is nothing there or nothing in that layout.
    """
    sources = tuple(Path(path) for path in paths)
    classes: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for number, source in enumerate(sources):
        names = _names(source)
        folders = {name: PurePosixPath(name).parts[:-1] for name in names}
        above = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders.values(), strict=False))))
        if above and any(len(parts) == above for parts in folders.values()):  # a single class, or pictures beside
            above -= 1
        for name, parts in folders.items():
            inside = parts[above:][-2:]
            if not inside:
                continue
            key = (source.stem, *inside) if len(sources) > 1 else inside
            classes.setdefault(key, []).append((number, name))
    if not classes:
        raise DataError(f"{', '.join(map(str, sources))}: no photo as CLASS/IMAGE.jpg")
    keys = sorted(classes)
    prefix = 2 if len(sources) > 1 else 1
    return Photos(
        sources,
        tuple(tuple(sorted(classes[key])) for key in keys),
        tuple("/".join(key) for key in keys),
        tuple("/".join(key[:prefix]) for key in keys),
    )


def _names(source: Path) -> list[str]:
    """Pictures in a folder or zip, names with `/`."""
    if source.is_dir():
        found = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    elif source.exists():
        try:
            with zipfile.ZipFile(source) as archive:
                found = archive.namelist()
        except zipfile.BadZipFile as error:
            raise DataError(f"{source} is neither a folder nor a readable zip: {error}") from error
    else:
        raise DataError(f"no data at {source}: give a folder or zip of class folders (CLASS/IMAGE.jpg)")
    return sorted(name for name in found if name.lower().endswith(ENDINGS) and "__MACOSX" not in name)


def decoded(data: bytes, name: str, resolution: int) -> Pixels:
    """A file's picture as the backbone takes it, [R,R,3]. Raises `DataError`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return to_pixels(picture, resolution)
    except Exception as error:
        raise DataError(f"cannot use {name}: {error}") from error


def features(photos: Photos, backbone: Backbone, views: int = 1, cache: Path = CACHE) -> Tensor:
    """What a backbone gives for each view of each picture: [C,D,V,F], zeros where a class has fewer than D.

    Kept under `cache` and read from there the next time. Raises `DataError`, `BackboneError`.
    """
    loaded = backbone.load()
    path = cache / f"{_key(photos, loaded.sha256, views)}.safetensors"
    if not path.exists():
        _extract(photos, backbone, loaded, views, path)
    return load_file(path)["features"].float()


def _extract(photos: Photos, backbone: Backbone, loaded: Loaded, views: int, path: Path) -> None:
    counts = photos.counts
    found = torch.zeros(len(photos), int(counts.max()), views, backbone.feature_dim, dtype=torch.half)
    network = loaded.network.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        pictures = photos.pictures()
        while some := list(islice(pictures, PICTURES_AT_ONCE)):
            shown = list(pool.map(lambda one: _views(one, backbone.resolution, views), some))
            pixels = torch.from_numpy(np.stack(shown)).flatten(0, 1)  # [B V, R, R, 3]
            images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std  # channels last in memory
            seen = network(images).unflatten(0, (len(some), views))  # [B, V, F]
            for one, values in zip(some, seen, strict=True):
                found[one.label, one.place] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    save_file({"features": found}, fresh)
    fresh.replace(path)


def _views(picture: Picture, resolution: int, views: int) -> Pixels:
    """The picture as it is and augmented, [V,R,R,3]; the same for the same name."""
    whole = decoded(picture.data, picture.name, 2 * resolution if views > 1 else resolution)
    if views == 1:
        return whole[None]
    seed = int.from_bytes(hashlib.sha256(picture.name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    large = Image.fromarray(whole)
    plain = np.asarray(large.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return np.stack([plain, *(_augmented(large, resolution, rng) for _ in range(views - 1))])


def _augmented(picture: Image.Image, resolution: int, rng: np.random.Generator) -> Pixels:
    """A part of at least 35 % of the area and about the same shape, mirrored or not."""
    area, shape = rng.uniform(0.35, 1), np.exp(rng.uniform(-0.29, 0.29))  # 3:4 to 4:3
    width, height = (min(picture.width, picture.width * np.sqrt(area * s)) for s in (shape, 1 / shape))
    left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
    box = (left, top, left + width, top + height)
    part = picture.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)
    return np.asarray(ImageOps.mirror(part) if rng.uniform() < 0.5 else part)


def _key(photos: Photos, sha256: str, views: int) -> str:
    """Of the files' names and sizes, the weights and the number of views."""
    digest = hashlib.sha256(f"{sha256} {views} {FRAMING}".encode())
    for source in photos.sources:
        digest.update(f"{source.stem} {source.stat().st_size}".encode())
    for name, files in zip(photos.names, photos.files, strict=True):
        digest.update(f"{name} {files}".encode())
    return digest.hexdigest()[:24]
