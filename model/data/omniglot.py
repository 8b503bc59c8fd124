"""Omniglot: reading a folder or zip in its original layout into one bool tensor, and its splits.

The layout is `[anything/]ALPHABET/CHARACTER/IMAGE.png`. Every character is a class. Splits keep alphabets whole,
because characters of one alphabet look alike: a model trained on some of them knows something of the others.
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.data.classes import find_classes, read_picture
from model.data.sources import DataError, File, by_name
from model.data.splits import TooFewClasses, check_split, held_back
from model.images.drawings import SIDE, to_drawing
from model.images.reader import DrawingReader

#: Validation alphabets of the background set, never trained on: the last five by name.
VALIDATION_ALPHABETS = (
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)


@dataclass(frozen=True)
class Drawings:
    """A data set of C classes of drawings, in memory.

    Classes with fewer than D drawings are padded with empty images.
    """

    images: Tensor  # [C, D, 105, 105] bool, True is ink; centred and scaled by `model.images.drawings`
    counts: Tensor  # [C] int64, drawings of each class without padding
    alphabets: tuple[str, ...]  # one for each class
    names: tuple[str, ...]  # one for each class, `ALPHABET/CHARACTER`
    left_out: tuple[str, ...] = ()  # what was not read and why, one line

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, classes: list[int]) -> "Drawings":
        """Return the data set with these classes alone, in this order."""
        return Drawings(
            self.images[classes],
            self.counts[classes],
            tuple(self.alphabets[c] for c in classes),
            tuple(self.names[c] for c in classes),
            self.left_out,
        )

    def first(self, number: int) -> "Drawings":
        """Return the data set with the first so many drawings of each class alone."""
        counts = self.counts.clamp(max=number)
        return Drawings(self.images[:, :number], counts, self.alphabets, self.names, self.left_out)

    def split(self, name: str) -> "Drawings":
        """Return the split `all`, `train` or `validation`; no alphabet is in both of the last two.

        Of Omniglot's background set, validation is `VALIDATION_ALPHABETS`. Of other data it is every fifth alphabet, or
        every fifth class if there is only one. Raises `DataError` for another name, or if there are too few classes.
        """
        check_split(name)
        if name == "all":
            return self
        named = [alphabet in VALIDATION_ALPHABETS for alphabet in self.alphabets]
        for_validation = named if any(named) else held_back(self.alphabets)
        wanted = [c for c, held in enumerate(for_validation) if held == (name == "validation")]
        if not wanted:
            raise TooFewClasses("all classes here are Omniglot's for validation, none for training")
        return self.subset(wanted)


def load_drawings(path: str | Path) -> Drawings:
    """Read a folder or zip in Omniglot's layout. The 19,280 drawings of the background set take about 15 seconds.

    Raises `DataError` if the path does not exist, holds no image in that layout, or holds a broken image.
    """
    found = find_classes(path)
    by_class: dict[tuple[str, str], list[File]] = {}
    for folders, files in found.classes.items():
        alphabet = folders[-2] if len(folders) > 1 else found.source.name
        by_class.setdefault((alphabet, folders[-1]), []).extend(files)
    names = sorted(by_class)
    counts = [len(by_class[name]) for name in names]
    images = np.zeros((len(names), max(counts), SIDE, SIDE), dtype=np.bool_)
    for index, name in enumerate(names):
        for place, file in enumerate(by_name(by_class[name])):
            images[index, place] = read_picture(file, to_drawing, DrawingReader(SIDE).draft)
    return Drawings(
        torch.from_numpy(images),
        torch.tensor(counts),
        tuple(alphabet for alphabet, _ in names),
        tuple(f"{alphabet}/{character}" for alphabet, character in names),
        (f"{found.source}: {found.left_out}",) if found.left_out else (),
    )


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
