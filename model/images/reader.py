"""Readers: each turns pictures into the input of one kind of model, for drawings or for photos."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import LEOConfig
from model.images import drawings, photos


class Reader(Protocol):
    """Turns pictures into phi's input, uint8: drawings [R,R], 255 full ink, or photos [R,R,3]."""

    @property
    def draft_at(self) -> tuple[str, tuple[int, int]]:
        """The mode and the least size in which a JPEG is decoded, for `PIL.Image.Image.draft`."""

    def draft(self, picture: Image.Image) -> None:
        """Have an open JPEG decoded at a fraction of its size, where it still has the pixels that are needed."""

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Read a picture of any mode and size. A reader of drawings raises `model.images.drawings.NoDrawing`."""


@dataclass(frozen=True)
class DrawingReader:
    """Reads drawings: their ink, framed, at `side` x `side` pixels."""

    side: int

    @property
    def draft_at(self) -> tuple[str, tuple[int, int]]:
        return "L", (2 * drawings.WORK_SIDE, 2 * drawings.WORK_SIDE)

    def draft(self, picture: Image.Image) -> None:
        picture.draft(*self.draft_at)

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        return drawings.to_input(drawings.to_drawing(picture), self.side)


@dataclass(frozen=True)
class PhotoReader:
    """Reads photos: the square in their middle, at `side` x `side` pixels."""

    side: int

    @property
    def draft_at(self) -> tuple[str, tuple[int, int]]:
        return "RGB", (2 * self.side, 2 * self.side)

    def draft(self, picture: Image.Image) -> None:
        photos.draft(picture, self.side)

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        return photos.to_pixels(picture, self.side)


def reader(config: LEOConfig) -> Reader:
    """Make the reader for a model with this config."""
    return DrawingReader(config.resolution) if config.pretrained is None else PhotoReader(config.resolution)
