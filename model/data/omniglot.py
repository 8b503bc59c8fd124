"""Omniglot: reading a folder or zip in its original layout into one bool tensor, and its splits.

The layout is `[anything/]ALPHABET/CHARACTER/IMAGE.png`. Every character is a class. Splits keep alphabets whole,
because characters of one alphabet look alike: a model trained on some of them knows something of the others.
"""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.images.drawings import SIDE, to_drawing

#: Validation alphabets of the background set, never trained on: the last five by name.
VALIDATION_ALPHABETS = (
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)
SPLITS = ("all", "train", "validation")


class DataError(ValueError):
    """Data that is missing, in another layout than expected, or too small; the message says what is needed."""


@dataclass(frozen=True)
class Drawings:
    """A data set of C classes of drawings, in memory.

    Classes with fewer than D drawings are padded with empty images.
    """

    images: Tensor  # [C, D, 105, 105] bool, True is ink; centred and scaled by `model.images.drawings`
    counts: Tensor  # [C] int64, drawings of each class without padding
    alphabets: tuple[str, ...]  # one for each class
    names: tuple[str, ...]  # one for each class, `ALPHABET/CHARACTER`

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, classes: list[int]) -> "Drawings":
        """Return the data set with these classes alone, in this order."""
        return Drawings(
            self.images[classes],
            self.counts[classes],
            tuple(self.alphabets[c] for c in classes),
            tuple(self.names[c] for c in classes),
        )

    def split(self, name: str) -> "Drawings":
        """Return the split `all`, `train` or `validation`; no alphabet is in both of the last two.

        Raises `DataError` for another name, or if the split would have no class.
        """
        if name not in SPLITS:
            raise DataError(f"no split called {name!r}; there are {', '.join(SPLITS)}")
        if name == "all":
            return self
        wanted = [c for c, a in enumerate(self.alphabets) if (a in VALIDATION_ALPHABETS) == (name == "validation")]
        if not wanted:
            raise DataError(
                f"no class belongs to the {name} split, which goes by alphabet: validation is "
                f"{', '.join(VALIDATION_ALPHABETS)}. For other data use --split all"
            )
        return self.subset(wanted)


def load_drawings(path: str | Path) -> Drawings:
    """Read a folder or zip in Omniglot's layout. The 19,280 drawings of the background set take about 15 seconds.

    Raises `DataError` if the path does not exist, holds no image in that layout, or holds a broken image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no data at {path}: give a folder or zip in Omniglot's layout (ALPHABET/CHARACTER/IMAGE.png)")
    by_class: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    for name, data in read_images(path):
        parts = PurePosixPath(name).parts
        if len(parts) >= 3:
            by_class.setdefault((parts[-3], parts[-2]), []).append((name, data))
    if not by_class:
        raise DataError(f"{path} holds no image as ALPHABET/CHARACTER/IMAGE.png: give data in Omniglot's layout")
    most = max(len(files) for files in by_class.values())
    classes = sorted(by_class)
    images = np.zeros((len(classes), most, SIDE, SIDE), dtype=np.bool_)
    for index, key in enumerate(classes):
        for slot, (name, data) in enumerate(sorted(by_class[key])):
            images[index, slot] = _decode(name, data)
    counts = [len(by_class[key]) for key in classes]
    return Drawings(
        torch.from_numpy(images),
        torch.tensor(counts),
        tuple(alphabet for alphabet, _ in classes),
        tuple(f"{alphabet}/{character}" for alphabet, character in classes),
    )


def read_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name, with `/` between folders, and the content of every PNG in a folder or zip.

    Raises `DataError` if the path is neither.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*.png")):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".png") and "__MACOSX" not in name:
                    yield name, archive.read(name)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is neither a folder nor a readable zip: {error}") from error


def _decode(name: str, data: bytes) -> "np.typing.NDArray[np.bool_]":
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return to_drawing(picture)
    except Exception as error:
        raise DataError(f"cannot use {name}: {error}; replace or remove it") from error


def fingerprint(drawings: Drawings) -> str:
    """Return a hash of class names and pixels, 16 hexadecimal digits, by which checkpoints recognise their data."""
    digest = hashlib.sha256("\n".join(drawings.names).encode())
    digest.update(np.packbits(drawings.images.numpy()).tobytes())
    return digest.hexdigest()[:16]


def load_omniglot_dataset(root: str | Path = "omniglot", download: bool = False) -> tuple[Drawings, Drawings]:
    """Load Omniglot's training and test drawings from `images_background` and `images_evaluation` in `root`.

    Each may be a folder or a zip. With `download`, torchvision downloads what is missing. Without an evaluation set the
    background set is split: its validation alphabets become the test drawings, and a `UserWarning` says so.

    Raises `DataError` if the background set is missing or cannot be read.
    """
    root = Path(root)
    background, evaluation = (_find_set(root, part, download) for part in ("images_background", "images_evaluation"))
    if background is None:
        raise DataError(
            f"neither images_background nor images_background.zip is in {root}; "
            "put Omniglot there, or pass download=True"
        )
    drawings = load_drawings(background)
    if evaluation is not None:
        return drawings, load_drawings(evaluation)
    warnings.warn(
        f"no images_evaluation in {root}: testing on the background's validation alphabets, training on the others",
        UserWarning,
        stacklevel=2,
    )
    return drawings.split("train"), drawings.split("validation")


def _find_set(root: Path, part: str, download: bool) -> Path | None:
    unpacked = root / "omniglot-py" / part  # where torchvision unpacks it
    for path in (root / part, root / f"{part}.zip", unpacked):
        if path.exists():
            return path
    if not download:
        return None
    from torchvision.datasets import Omniglot

    Omniglot(str(root), background=part == "images_background", download=True)
    return unpacked
