"""Any picture -> a model's input, by the kind of model: drawings are framed, photos cut to their middle."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import LEOConfig
from model.images import drawings, photos


class Reader(Protocol):
    """Makes pictures into phi's input, uint8: [R,R], 255 full ink, or [R,R,3]."""

    def draft(self, picture: Image.Image) -> None:
        """Have an open JPEG decoded at a fraction of its size, as far as nothing is lost by it."""

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Of any mode and size. May raise `model.images.drawings.NoDrawing`."""


@dataclass(frozen=True)
class DrawingReader:
    """Framed ink; `side` is R."""

    side: int

    def draft(self, picture: Image.Image) -> None:
        picture.draft("L", (2 * drawings.WORK_SIDE, 2 * drawings.WORK_SIDE))

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        return drawings.to_input(drawings.to_drawing(picture), self.side)


@dataclass(frozen=True)
class PhotoReader:
    """The square in the middle; `side` is R."""

    side: int

    def draft(self, picture: Image.Image) -> None:
        photos.draft(picture, self.side)

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        return photos.to_pixels(picture, self.side)


def reader(config: LEOConfig) -> Reader:
    """What the model of this config reads pictures with."""
    return DrawingReader(config.resolution) if config.pretrained is None else PhotoReader(config.resolution)
