"""What the commands that run a model themselves share: loading model and data, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.common import fail, warn_of_left_out

if TYPE_CHECKING:
    import torch

    from model.checkpoint import ModelInfo
    from model.data.omniglot import Drawings
    from model.data.photos import Photos
    from model.evaluation.accuracy import Within
    from model.evaluation.extracted_features import Pictures
    from model.leo import LatentEmbeddingOptimization


@contextmanager
def one_line_errors(*more: type[Exception]) -> Iterator[None]:
    """Print an error that a user can fix as one line, without a traceback. Commands use this as a decorator.

    Such errors are those of the data and the model's folder, a training run that diverged, and the types in `more`.
    """
    try:
        yield
    except Exception as error:
        from model.backbones import BackboneError
        from model.checkpoint import CheckpointError
        from model.data.sources import DataError
        from model.outer_loop import TrainingDiverged

        if isinstance(error, (BackboneError, CheckpointError, DataError, TrainingDiverged, *more)):
            fail(error)
        raise


def find_device(name: str) -> "torch.device":
    """Return the device called `name`."""
    from model.devices import choose

    try:
        return choose(name)
    except ValueError as error:
        fail(error)


def load_model(folder: Path, device: str) -> "tuple[LatentEmbeddingOptimization, ModelInfo]":
    """Load a model and what its folder says about it. Raises `CheckpointError` and `BackboneError`."""
    from model.allocator import keep_freed_memory
    from model.checkpoint import read_info
    from model.leo import LatentEmbeddingOptimization

    keep_freed_memory()
    return LatentEmbeddingOptimization.from_pretrained(folder, find_device(device)), read_info(folder)


def load_pictures(paths: list[Path], leo: "LatentEmbeddingOptimization") -> "Pictures":
    """Load drawings or photos, whichever the model takes. Raises `DataError`."""
    return load_drawings(paths) if leo.config.pretrained is None else load_photos(paths)


def part_of(pictures: "Pictures", split: str) -> "Pictures":
    """A split of pictures; where it has too few classes, the command ends with what to do."""
    from model.data.splits import TooFewClasses

    try:
        return pictures.split(split)
    except TooFewClasses as error:
        fail(f"{error}; or use --split all")


def load_drawings(paths: list[Path]) -> "Drawings":
    """Load drawings from one folder or zip. Raises `DataError`."""
    from model.data import omniglot

    if len(paths) > 1:
        fail("drawings come from one folder or zip: give --data once. Photos may come from several")
    drawings = omniglot.load_drawings(paths[0])
    warn_of_left_out(drawings.left_out)
    return drawings


def load_photos(paths: list[Path]) -> "Photos":
    """Load photos from folders and zips. Raises `DataError`."""
    from model.data import photos as of_photos

    photos = of_photos.load_photos(*paths)
    warn_of_left_out(photos.left_out)
    return photos


def find_within(name: str | None) -> "Within | None":
    """Read the option `--within`."""
    if name not in (None, "alphabet"):
        fail(f"--within {name}: give --within alphabet, or leave it out to draw a task's classes from all alphabets")
    return "alphabet" if name else None
