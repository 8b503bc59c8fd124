"""Tells drawings from photos of things by what pictures look like.

A pen has one width and one tone, its strokes are thin for their length, and the paper between them is clean. A thing
before a plain ground has parts of different widths, light and shade, and a soft shadow beside it. The weights of these
four measures come from a logistic regression on drawings (Omniglot's, photographed, on canvases, with felt pens,
pencils and chalk) and on photos (Caltech-101, groceries, hand signs, and made pictures of single things). With any one
of these kinds left out of the regression, five pictures of it are recognised in at least four of five cases, and of
most kinds always.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model.images.levels import to_8_bits
from model.images.upright import orientation, turn

SIDE = 256  # pixels; larger pictures are shrunk to this first
INK_SIDE = 128  # pixels; the part with ink is shrunk to this
PAPER_SIDE, PAPER_WINDOW = 32, 15  # the paper is a median over windows of about half the picture
MIN_CONTRAST = 0.05  # of the full range; what differs less from the paper around it is paper
MIN_STRENGTH = 0.4  # of the strongest ink's; what is fainter is a soft edge, a shadow or paper

SOFT_MARK = 0.12  # of the strongest ink's; what is at least so strong, and not beside ink, is no clean paper

#: Evidence for a drawing, as log odds: what there is at first, and what each measure takes from it.
FIRST_EVIDENCE, BY_THICKNESS, BY_UNEVEN_WIDTH, BY_UNEVEN_TONE, BY_SOFT_MARKS = 6.4, -25.1, -1.4, -12.6, -5.6
MAX_EVIDENCE = 4.0  # of one picture, so that a single odd one does not decide for all

Levels = NDArray[np.float32]


def are_drawings(evidence: Iterable[float]) -> bool:
    """Whether pictures are drawings rather than photos, by the `drawing_evidence` of each. Of none at all: they are."""
    return sum(evidence) >= 0


def drawing_evidence(picture: Image.Image) -> float:
    """How much a picture looks like strokes on paper, scanned, photographed or from a canvas: log odds in -4..4.

    Single pictures may mislead, such as one of a smooth stick. So add up the evidence of several, and use it only
    where the caller names no model.
    """
    strength, threshold = _ink(_on_white(picture))
    ink = strength > threshold
    if not ink.any():
        return 0.0  # blank
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    extent = max(right - left, bottom - top)
    if extent > INK_SIDE:
        scale, extent = INK_SIDE / extent, INK_SIDE
        size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        part = Image.fromarray(strength).resize(size, Image.Resampling.BOX, (left, top, right, bottom))
        strength = np.asarray(part)
    else:
        strength = strength[top:bottom, left:right]
    ink = strength > threshold
    if not ink.any():  # fine lines fade when they are shrunk
        return 0.0
    half_widths = ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1]
    middles = ink & (half_widths == ndimage.maximum_filter(half_widths, 3))  # of the strokes
    widths, tones = 2 * half_widths[middles] - 1, strength[middles]
    paper = strength[~ndimage.binary_dilation(ink, iterations=2)]
    soft_marks = float((paper > SOFT_MARK).mean()) if paper.size else 0.0
    evidence = (
        FIRST_EVIDENCE
        + BY_THICKNESS * widths.max() / extent
        + BY_UNEVEN_WIDTH * widths.std() / widths.mean()
        + BY_UNEVEN_TONE * tones.std() / tones.mean()
        + BY_SOFT_MARKS * soft_marks**0.5
    )
    return float(np.clip(evidence, -MAX_EVIDENCE, MAX_EVIDENCE))


def draft(picture: Image.Image) -> None:
    """Have an open JPEG decoded at a fraction of its size, which is enough for `drawing_evidence`."""
    picture.draft(picture.mode, (SIDE, SIDE))


def _on_white(picture: Image.Image) -> Image.Image:
    """Make a picture opaque, RGB and at most 256 pixels wide and high."""
    picture.load()  # some formats keep metadata behind the pixels
    small = turn(to_8_bits(picture), orientation(picture))
    if max(small.size) > SIDE:
        scale = SIDE / max(small.size)
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if small.mode != "RGBA":
        return small.convert("RGB")
    ground = Image.new("RGBA", small.size, "white")
    ground.alpha_composite(small)
    return ground.convert("RGB")


def _ink(picture: Image.Image) -> tuple[Levels, float]:
    """How much each pixel differs from the paper around it, as a share of the strongest ink, [h,w]; the least of ink.

    Nothing reaches that least strength in a picture without ink.
    """
    coarse = np.asarray(picture.resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BOX))
    median = ndimage.median_filter(coarse, size=(PAPER_WINDOW, PAPER_WINDOW, 1), mode="nearest")
    paper = np.asarray(Image.fromarray(median).resize(picture.size, Image.Resampling.BICUBIC), dtype=np.int16)
    difference = np.abs(np.asarray(picture, dtype=np.int16) - paper).max(axis=2).astype(np.float32) / 255  # [h, w]
    marked = difference[difference > MIN_CONTRAST]
    if not marked.size:
        return difference, 1.0
    strongest = np.percentile(marked, 90)
    return difference / np.float32(strongest), max(MIN_CONTRAST / float(strongest), MIN_STRENGTH)
