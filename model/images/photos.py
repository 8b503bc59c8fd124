"""Any photo -> what a pretrained backbone takes. Training and serving both come through here.

The model sees the square in the middle of a picture, its whole shorter side: on products and objects that was up to
half a point better than squeezing the whole picture into the square. It is turned upright (EXIF), its colours
are brought from the profile it carries to sRGB, and what is transparent lies on white.
"""

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps

Pixels = NDArray[np.uint8]

SRGB = ImageCms.createProfile("sRGB")


def draft(picture: Image.Image, resolution: int) -> None:
    """Have an open JPEG decoded at half of its size, a quarter or an eighth, but no smaller than what is looked at."""
    picture.draft(picture.mode, (resolution, resolution))


def to_pixels(picture: Image.Image, resolution: int) -> Pixels:
    """A picture of any mode and size -> [R,R,3] uint8, red, green and blue."""
    draft(picture, resolution)
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    levels = with_levels(picture)
    side = min(levels.size)
    left, top = (levels.width - side) / 2, (levels.height - side) / 2
    box = (left, top, left + side, top + side)
    small = levels.resize((resolution, resolution), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    small = opaque(in_srgb(small, picture.info.get("icc_profile")))
    if orientation != 1:
        small.getexif()[ExifTags.Base.Orientation] = orientation
        small = ImageOps.exif_transpose(small)
    return np.array(small)


def with_levels(picture: Image.Image) -> Image.Image:
    """A picture whose pixels can be averaged: no palette, 8 bits a channel."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits: Pillow's "L" would clip
        wide = np.asarray(picture, dtype=np.float32)
        low, high = float(wide.min()), float(wide.max())
        return Image.fromarray(((wide - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
    if "transparency" in picture.info or picture.mode in ("PA", "LA"):
        return picture.convert("RGBA")
    return picture if picture.mode in ("L", "RGB", "RGBA", "CMYK") else picture.convert("RGB")


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as the picture's own profile means them; a profile that does not fit is passed over."""
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, own, SRGB, outputMode=target)
            if converted is not None:
                return converted
    return picture.convert(target)


def opaque(picture: Image.Image) -> Image.Image:
    """RGBA or RGB -> RGB, the transparent on white."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")
