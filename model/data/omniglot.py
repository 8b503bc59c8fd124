"""Omniglot, from a folder or a zip in its original layout, as one bool tensor in memory.

Layout: `[anything/]ALPHABET/CHARACTER/IMAGE.png`. Every character is a class; the alphabets are
what splits are made of, since characters of one alphabet share a hand and a style.
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

#: Validation alphabets of the background set: the last five by name. Never trained on.
VALIDATION_ALPHABETS = (
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)
SPLITS = ("all", "train", "validation")


class DataError(ValueError):
    """The data is not there or not in the expected layout; the message says what would be."""


@dataclass(frozen=True)
class Drawings:
    """Classes of drawings: `images` [C,D,105,105] bool, canonical (see `model.images.drawings`).

    Classes with fewer than D drawings are padded; `counts` [C] says how many are real.
    """

    images: Tensor
    counts: Tensor  # [C] int64
    alphabets: tuple[str, ...]  # of each class
    names: tuple[str, ...]  # of each class, `ALPHABET/CHARACTER`

    def __len__(self) -> int:
        return len(self.names)

    def only(self, classes: list[int]) -> "Drawings":
        """These classes, in this order."""
        return Drawings(
            self.images[classes],
            self.counts[classes],
            tuple(self.alphabets[c] for c in classes),
            tuple(self.names[c] for c in classes),
        )

    def split(self, name: str) -> "Drawings":
        """`all`, or `train` and `validation`, which divide by alphabet. Raises `DataError`."""
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
        return self.only(wanted)


def load_drawings(path: str | Path) -> Drawings:
    """Read a folder or zip in Omniglot's layout; about a quarter of a minute for 19,280 drawings.

    Raises `DataError` if there is nothing there, nothing in that layout, or a broken image.
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
        raise DataError(f"{path} holds no image as ALPHABET/CHARACTER/IMAGE.png")
    most = max(len(files) for files in by_class.values())
    classes = sorted(by_class)
    images = np.zeros((len(classes), most, SIDE, SIDE), dtype=np.bool_)

    for index, key in enumerate(classes):
        for slot, (name, data) in enumerate(sorted(by_class[key])):
            images[index, slot] = _read(name, data)
    counts = [len(by_class[key]) for key in classes]
    return Drawings(
        torch.from_numpy(images),
        torch.tensor(counts),
        tuple(alphabet for alphabet, _ in classes),
        tuple(f"{alphabet}/{character}" for alphabet, character in classes),
    )


def read_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every PNG in a folder or zip, names with `/`."""
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


def _read(name: str, data: bytes) -> "np.typing.NDArray[np.bool_]":
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return to_drawing(picture)
    except Exception as error:
        raise DataError(f"cannot use {name}: {error}") from error


def fingerprint(drawings: Drawings) -> str:
    """A short hash of classes and pixels, to name a data set in results and checkpoints."""
    digest = hashlib.sha256("\n".join(drawings.names).encode())
    digest.update(np.packbits(drawings.images.numpy()).tobytes())
    return digest.hexdigest()[:16]


def load_omniglot_dataset(root: str | Path = "omniglot", download: bool = False) -> tuple[Drawings, Drawings]:
    """Background and evaluation drawings under `root`: folders or zips `images_background`, `images_evaluation`.

    With `download`, torchvision fetches what is missing. Where there is no evaluation set, the
    background's validation alphabets stand in for it, are left out of the first, and a warning
    says so. Raises `DataError`.
    """
    root = Path(root)
    background, evaluation = (_find(root, part, download) for part in ("images_background", "images_evaluation"))
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


def _find(root: Path, part: str, download: bool) -> Path | None:
    torchvisions = root / "omniglot-py" / part  # where torchvision unpacks it
    for path in (root / part, root / f"{part}.zip", torchvisions):
        if path.exists():
            return path
    if not download:
        return None
    from torchvision.datasets import Omniglot

    Omniglot(str(root), background=part == "images_background", download=True)
    return torchvisions
