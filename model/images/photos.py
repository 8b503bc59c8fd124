"""From any photo to the input of a pretrained backbone. Training and serving both use it.

A photo is cropped to the square in its middle, as wide as its shorter side. On products and objects this was up to
half a point more accurate than squeezing the whole photo into the square. It is turned upright (EXIF), its colours are
converted from its own profile to sRGB, and transparent pixels become white.
"""

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps

Pixels = NDArray[np.uint8]

SRGB = ImageCms.createProfile("sRGB")


def draft(picture: Image.Image, resolution: int) -> None:
    """Have an open JPEG decoded at 1/2, 1/4 or 1/8 of its size, but not below `resolution` pixels."""
    picture.draft(picture.mode, (resolution, resolution))


def to_pixels(picture: Image.Image, resolution: int) -> Pixels:
    """Make a backbone's input from a picture of any mode and size -> [R,R,3] uint8: red, green, blue."""
    draft(picture, resolution)
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    levels = to_8_bit_channels(picture)
    side = min(levels.size)
    left, top = (levels.width - side) / 2, (levels.height - side) / 2
    box = (left, top, left + side, top + side)
    small = levels.resize((resolution, resolution), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    small = on_white(to_srgb(small, picture.info.get("icc_profile")))
    if orientation != 1:
        small.getexif()[ExifTags.Base.Orientation] = orientation
        small = ImageOps.exif_transpose(small)
    return np.array(small)


def to_8_bit_channels(picture: Image.Image) -> Image.Image:
    """Convert palettes and 16 or 32 bits to 8-bit channels, which can be averaged when resizing."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits: Pillow's "L" would clip
        wide = np.asarray(picture, dtype=np.float32)
        low, high = float(wide.min()), float(wide.max())
        return Image.fromarray(((wide - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
    if "transparency" in picture.info or picture.mode in ("PA", "LA"):
        return picture.convert("RGBA")
    return picture if picture.mode in ("L", "RGB", "RGBA", "CMYK") else picture.convert("RGB")


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours from the picture's own profile to sRGB. A damaged or unfitting profile is ignored."""
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile:
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
