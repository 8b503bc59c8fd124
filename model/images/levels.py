"""From pixels of any mode and depth to channels of 8 bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: The largest values of pixels as they are usually stored: shares, or 8, 10, 12, 14 and 16 bits.
FULL_RANGES = (1, 255, 1023, 4095, 16383, 65535)


def to_8_bits(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode to one of L, RGB or RGBA, which can be averaged when it is resized.

    CMYK stays where a profile tells what colours it means, which `model.images.profiles.to_srgb` makes of it.
    """
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits: Pillow's "L" would clip
        return Image.fromarray(scale(np.asarray(picture)))
    if picture.mode == "La":  # Pillow converts it to LA alone
        picture = picture.convert("LA")
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBa") or _has_clear_colours(picture):
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode == "CMYK" and (picture.info.get("icc_profile") or b"")[16:20] == b"CMYK":
        return picture
    return picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGB")


def scale(wide: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale pixels of any depth [...] to 0..255.

    The white of a picture is the smallest of the usual full ranges that holds its brightest pixel, so that a picture
    is the same at 8 and at 16 bits. A picture that fits none of them is stretched from its least value to its largest.
    """
    values = np.nan_to_num(wide.astype(np.float32), copy=False, nan=0, posinf=0, neginf=0)
    np.clip(values, -1e37, 1e37, out=values)  # the difference of two larger ones would be infinite
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    usual = [white for white in FULL_RANGES if low >= 0 and high <= white]
    if not usual:
        values -= np.float32(low)
    values *= np.float32(255 / (usual[0] if usual else max(high - low, 1e-12)))
    return np.round(values, out=values).astype(np.uint8)


def _has_clear_colours(picture: Image.Image) -> bool:
    """Whether a palette holds transparent colours."""
    return picture.mode == "P" and picture.palette is not None and picture.palette.mode == "RGBA"
