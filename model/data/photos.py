"""Photos in folders of classes, from a folder or a zip, and what a backbone makes of them, kept on disk.

Layout: `[anything/]CLASS/IMAGE.jpg`, or `[anything/]GROUP/CLASS/IMAGE.jpg` where classes belong
together as apples of five kinds do: splits are made of whole groups. JPEG, PNG and WEBP.

Pictures stay on disk. What is computed from one is the backbone's features of a few views: as it is, and
`VIEWS - 1` times cropped, mirrored and tinted at random, as training's augmentation.
"""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.backbones import Backbone
from model.config import LEOConfig
from model.data.omniglot import SPLITS, DataError
from model.images.photos import Pixels, to_pixels
from model.networks.features import FeatureExtractor
from model.serving.phi import Phi, fastest_phi

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
VALIDATE_EVERY = 5  # one group in five, by name, is never trained on
FRAMING = (
    "centre square 2"  # to be raised when `model.images.photos`, the augmentation or what a backbone gives changes
)
CACHE = Path(".cache/photos")


class Picture(NamedTuple):
    """A file and its content."""

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

    def pictures(self, label: int) -> Iterator["Picture"]:
        """Of one class."""
        with contextlib.ExitStack() as opened:
            archives: dict[int, zipfile.ZipFile] = {}
            for source, name in self.files[label]:
                path = self.sources[source]
                if path.is_dir():
                    yield Picture(name, (path / name).read_bytes())
                    continue
                if source not in archives:
                    archives[source] = opened.enter_context(zipfile.ZipFile(path))
                yield Picture(name, archives[source].read(name))


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
    """All that a backbone gives for each view of each picture: [C,D,V,W], zeros where a class has fewer than D.

    Kept under `cache`, a file a class, and read from there the next time. Raises `DataError`, `BackboneError`.
    """
    sha256, side = backbone.load().sha256, backbone.resolution
    look: Phi | None = None
    found = torch.zeros(len(photos), int(photos.counts.max()), views, backbone.width("all"))
    for label, files in enumerate(photos.files):
        path = cache / f"{_key(photos, label, sha256, views)}.safetensors"
        if not path.exists():
            if look is None:
                config = LEOConfig(
                    backbone=backbone.name, backbone_pooling="all", resolution=side, normalise_features=False
                )
                look = fastest_phi(FeatureExtractor(config).eval(), side, torch.device("cpu"), quantise=False)
            cache.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}.new")
            save_file({"features": _of_class(photos, label, look, side, views).half()}, fresh)
            fresh.replace(path)
        found[label, : len(files)] = load_file(path)["features"].float()
    return found


def _of_class(photos: Photos, label: int, look: Phi, side: int, views: int) -> Tensor:
    """Features of one class's pictures, [D,V,F]."""
    with ThreadPoolExecutor(2) as pool:
        shown = list(pool.map(lambda one: _views(one, side, views), photos.pictures(label)))  # [V, R, R, 3] each
    features: Tensor = look(np.concatenate(shown)).unflatten(0, (len(shown), views))
    return features


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


def _key(photos: Photos, label: int, sha256: str, views: int) -> str:
    """Of a class's files, their sources' sizes, the backbone's weights and the number of views."""
    digest = hashlib.sha256(f"{sha256} {views} {FRAMING}".encode())
    for source, name in photos.files[label]:
        path = photos.sources[source]
        size = (path / name if path.is_dir() else path).stat().st_size
        digest.update(f"{path.stem} {size} {name}\n".encode())
    return digest.hexdigest()[:24]
