"""Shrinks pictures to a longest side."""

import math
from collections.abc import Callable

from PIL import Image


def shrunk(picture: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """The picture at most `side` pixels wide and high, in its proportions; itself if it is.

    Pixel for pixel what Pillow's `thumbnail` makes, which changes the picture that it is given. A copy for that would
    be of all its pixels: a fifth of the time of reading a drawing of 49 million pixels, and twice their memory.
    """
    width, height = picture.size
    if max(width, height) <= side:
        return picture
    aspect = width / height
    if aspect <= 1:
        size = _whole(side * aspect, lambda n: abs(aspect - n / side)), side
    else:
        size = side, _whole(side / aspect, lambda n: abs(aspect - side / n) if n else 0)
    return picture.resize(size, resample, reducing_gap=2.0)


def _whole(length: float, error: Callable[[int], float]) -> int:
    """The whole number beside a length, 1 or more, with the smaller error."""
    return max(1, min(math.floor(length), math.ceil(length), key=error))
