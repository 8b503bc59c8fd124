"""Whether a picture is a drawing or a photo of things, by what it looks like: for those who do not say."""

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 64  # pixels at which a picture is looked at
NEAR_PAPER = 0.07  # of the full range: lighter or darker than the paper around it by less is paper
MOST_INK = 0.35  # share of a drawing's pixels that may be anything but paper
COLOURED = 0.25  # saturation from which a pixel counts as coloured


def looks_like_drawing(picture: Image.Image) -> bool:
    """Strokes on paper, as scanned, drawn on a canvas or photographed: mostly paper, whose tone changes slowly.

    Wrong now and then, as for a grey object before a plain wall; so it only decides where nobody else did.
    """
    small = picture.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
    ground = Image.new("RGBA", small.size, "white")
    ground.alpha_composite(small)
    levels = np.asarray(ground.convert("RGB"), dtype=np.float32) / 255  # [64, 64, 3]
    grey = levels.mean(axis=2)
    paper = ndimage.median_filter(grey, size=33, mode="nearest")
    away = np.abs(grey - paper) > NEAR_PAPER
    if away.mean() > MOST_INK:
        return False
    # Strokes are thin: little is left of them when their edges are taken off.
    core = ndimage.binary_erosion(away, np.ones((5, 5)))
    saturation = levels.max(axis=2) - levels.min(axis=2)
    return bool(core.mean() < 0.04 and (saturation > COLOURED).mean() < 0.15)
