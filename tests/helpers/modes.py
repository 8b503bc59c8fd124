"""The same photo in every mode of Pillow, with colours, transparency and depth where the mode has them."""

import numpy as np
from PIL import Image, ImageCms

from tests.helpers.photographed import product

MODES = [
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16",
    "I;16B", "I;16L", "F",
]  # fmt: skip


def in_mode(mode: str, size: tuple[int, int] = (60, 44), levels: int = 65535) -> Image.Image:
    """A picture of this mode with grey, colour and, where the mode has it, transparency."""
    photo = product("orange", 3, (max(size), max(size))).resize(size)
    wide = (np.asarray(photo.convert("L")).astype(np.int64) * levels // 255).astype(np.int32)
    if mode.startswith("I;16"):
        return Image.frombytes(mode, size, wide.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    if mode in ("I", "F"):
        return Image.fromarray(wide.astype(np.int32 if mode == "I" else np.float32))
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(size))
    match mode:
        case "LA" | "RGBA" | "RGBa":
            return clear.convert(mode)
        case "La":
            return clear.convert("LA").convert("La")
        case "PA":
            return clear.convert("P").convert("PA")
        case "LAB":
            lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
            return ImageCms.applyTransform(photo, lab)
    return photo.convert(mode)
