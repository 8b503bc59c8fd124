"""Tells drawings from photos of things by what a picture looks like."""

import numpy as np
from PIL import Image
from scipy import ndimage

from model.images.levels import to_8_bits

SIDE = 64  # pixels; pictures are shrunk to this square
PAPER_TOLERANCE = 0.07  # of the full range; a pixel that differs less from the paper around it is paper
MAX_INK = 0.35  # share of a drawing's pixels that may be ink
MAX_CORE = 0.04  # share of a drawing's pixels that may be ink after 2 pixels are eroded from every edge
MIN_SATURATION = 0.25  # of a pixel that counts as coloured
MAX_COLOURED = 0.15  # share of a drawing's pixels that may be coloured


def looks_like_drawing(picture: Image.Image) -> bool:
    """Whether a picture shows strokes on paper, scanned, photographed or from a canvas.

    Most of a drawing is paper, whose tone changes slowly, and its strokes are thin and mostly without colour. The
    answer is sometimes wrong, for example for a grey object before a plain wall, so use it only where the caller
    names no model.
    """
    small = to_8_bits(picture).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
    ground = Image.new("RGBA", small.size, "white")
    ground.alpha_composite(small)
    levels = np.asarray(ground.convert("RGB"), dtype=np.float32) / 255  # [64, 64, 3]
    grey = levels.mean(axis=2)
    paper = ndimage.median_filter(grey, size=33, mode="nearest")
    ink = np.abs(grey - paper) > PAPER_TOLERANCE
    if ink.mean() > MAX_INK:
        return False
    core = ndimage.binary_erosion(ink, np.ones((5, 5)))  # thin strokes vanish
    saturation = levels.max(axis=2) - levels.min(axis=2)
    return bool(core.mean() < MAX_CORE and (saturation > MIN_SATURATION).mean() < MAX_COLOURED)
