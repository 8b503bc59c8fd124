"""From any photo to the input of a pretrained backbone. Training and serving both use it.

A photo is cropped to the square in its middle, as wide as its shorter side. On products and objects this was up to
half a point more accurate than squeezing the whole photo into the square. It is turned upright (EXIF), its colours are
converted from its own profile to sRGB, and transparent pixels become white.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.levels import to_8_bits
from model.images.profiles import to_srgb
from model.images.square import to_square
from model.images.upright import orientation, turn

Pixels = NDArray[np.uint8]


def draft(picture: Image.Image, resolution: int) -> None:
    """Have an open JPEG decoded at 1/2, 1/4 or 1/8 of its size, but not below twice `resolution` pixels.

    With fewer, features differ more from those of the whole picture than they do by the filter that shrinks it.
    """
    picture.draft(picture.mode, (2 * resolution, 2 * resolution))


def to_pixels(picture: Image.Image, resolution: int) -> Pixels:
    """Make a backbone's input from a picture of any mode and size -> [R,R,3] uint8: red, green, blue."""
    draft(picture, resolution)
    picture.load()  # some formats keep metadata behind the pixels
    # Turned before it is resized, so that it is the same as a picture that was upright from the start.
    levels = turn(to_8_bits(picture), orientation(picture))
    small = to_srgb(to_square(levels, resolution), picture.info.get("icc_profile"))
    return np.array(on_white(small))


def on_white(picture: Image.Image) -> Image.Image:
    """Lay an RGBA picture on white: RGBA or RGB -> RGB."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")
