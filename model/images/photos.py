"""From any photo to the input of a pretrained backbone. Training and serving both use it.

A photo is cropped to the square in its middle, as wide as its shorter side. On products and objects this was up to
half a point more accurate than squeezing the whole photo into the square. It is turned upright (EXIF), its colours are
converted from its own profile to sRGB, and transparent pixels become white.
"""

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from model.images.levels import to_8_bits
from model.images.profiles import is_readable
from model.images.upright import orientation, turn

Pixels = NDArray[np.uint8]

SRGB = ImageCms.createProfile("sRGB")


def draft(picture: Image.Image, resolution: int) -> None:
    """Have an open JPEG decoded at 1/2, 1/4 or 1/8 of its size, but not below twice `resolution` pixels.

    With fewer, features differ more from those of the whole picture than they do by the filter that shrinks it.
    """
    picture.draft(picture.mode, (2 * resolution, 2 * resolution))


def to_pixels(picture: Image.Image, resolution: int) -> Pixels:
    """Make a backbone's input from a picture of any mode and size -> [R,R,3] uint8: red, green, blue."""
    draft(picture, resolution)
    picture.load()  # some formats keep metadata behind the pixels
    levels = to_8_bits(picture)
    side = min(levels.size)
    left, top = (levels.width - side) / 2, (levels.height - side) / 2
    box = (left, top, left + side, top + side)
    small = levels.resize((resolution, resolution), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    small = on_white(to_srgb(small, picture.info.get("icc_profile")))
    return np.array(turn(small, orientation(picture)))


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours from the picture's own profile to sRGB.

    A profile that is damaged, does not fit or would take long is ignored.
    """
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile and is_readable(profile):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, own, SRGB, outputMode=target)
            if converted is not None:
                return converted
    return picture.convert(target)


def on_white(picture: Image.Image) -> Image.Image:
    """Lay an RGBA picture on white: RGBA or RGB -> RGB."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")
