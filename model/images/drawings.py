"""From any picture of a drawing to its canonical form, which phi takes. Training and serving both use it.

The canonical drawing is a bool square of 105x105 pixels, True where there is ink. The ink's bounding box is scaled so
that its longer side is 83 pixels, and centred. So polarity (dark on light or light on dark), size, position, colour,
paper and lighting cannot influence the model; shape, orientation and proportions can.

    picture -> `grey` -> `ink` (how much darker or lighter than the paper) -> `frame` (canonical)
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model.images.levels import to_8_bits
from model.images.shrinking import shrunk
from model.images.upright import orientation, turn

SIDE = 105  # Omniglot's own size, pixels
EXTENT = 83  # longer side of the framed ink, pixels: leaves a margin of 11, which augmentation needs
WORK_SIDE = 400  # larger pictures are shrunk to this first; strokes stay wider than 2
MIN_CONTRAST = 0.06  # of the full range; fainter marks count as paper
LEVELS = np.arange(256, dtype=np.float32)
THIN_STROKE = 2.9  # pixels in the canonical drawing; thinner strokes are thickened. Omniglot's thinnest are so wide

Levels = NDArray[np.uint8]
Grey = NDArray[np.float32]
Ink = NDArray[np.bool_]
Number = TypeVar("Number", np.uint8, np.float32)


class NoDrawing(ValueError):
    """A picture shows no drawing: nothing stands out from its background."""


def to_drawing(picture: Image.Image) -> Ink:
    """Make the canonical drawing of a picture of any mode and size -> [105,105] bool. Raises `NoDrawing`."""
    return frame(ink(grey(picture)))


def to_input(drawing: Ink, resolution: int) -> NDArray[np.uint8]:
    """Resize a canonical drawing [105,105] bool to phi's input [R,R] uint8, 255 full ink, by averaging areas."""
    full = drawing.view(np.uint8) * np.uint8(255)
    if resolution == SIDE:
        return full
    picture = Image.frombytes("L", full.shape, full.tobytes())
    return _pixels(picture.resize((resolution, resolution), Image.Resampling.BOX), np.uint8)


def _pixels(picture: Image.Image, kind: type[Number]) -> NDArray[Number]:
    """The pixels [h,w] of a picture of mode L (uint8) or F (float32)."""
    # measured: with this and `frombytes`, in place of `asarray` and `fromarray`, a drawing is read in 10 % less time
    return np.frombuffer(picture.tobytes(), dtype=kind).reshape(picture.height, picture.width)


def grey(picture: Image.Image) -> Levels:
    """Make a picture upright (EXIF), opaque, grey and at most 400 pixels wide and high -> [h,w] uint8."""
    picture.load()  # some formats keep metadata behind the pixels
    levels = turn(to_8_bits(picture), orientation(picture))
    if levels.mode == "CMYK":
        levels = levels.convert("RGB")
    levels = shrunk(levels, WORK_SIDE, Image.Resampling.BOX)
    if levels.mode == "RGBA":
        levels = _on_contrasting_paper(levels)
    levels = levels if levels.mode == "L" else levels.convert("L")
    return _pixels(levels, np.uint8)


def _on_contrasting_paper(picture: Image.Image) -> Image.Image:
    """Lay a transparent picture on white paper, or on black where what is drawn is light."""
    alpha = np.asarray(picture.getchannel("A"), dtype=np.float32)
    light = np.asarray(picture.convert("L"), dtype=np.float32)
    weight = float(alpha.sum())
    drawn = float((light * alpha).sum()) / weight if weight else 0.0
    # A mostly opaque picture brings its own paper.
    paper = "black" if drawn > 160 and float(alpha.mean()) < 128 else "white"
    ground = Image.new("RGBA", picture.size, paper)
    ground.alpha_composite(picture)
    return ground.convert("L")


def ink(light: Levels) -> Grey:
    """Separate ink from paper: lightness [h,w] in 0..255 -> strength of ink [h,w], 0 for paper, 1 for a full stroke.

    Ink is what is darker, or lighter, than the paper around it, whichever is more. Raises `NoDrawing` where nothing is.
    """
    border = np.sort(np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]]))
    paper = int(border[border.size // 2])
    # A canvas or a scan has one paper colour; a photo has light falling across it, and grain.
    if np.count_nonzero(np.abs(border.astype(np.int16) - paper) > 5) > 0.25 * border.size:
        levels = light.astype(np.float32) / np.float32(255)
        return _remove_specks(_strength(levels - _uneven_paper(levels), np.ones_like(levels)))
    low, high = int(light.min()), int(light.max())
    if high - low > 255 * MIN_CONTRAST:
        lowest, highest = light == low, light == high
        if np.count_nonzero(lowest) + np.count_nonzero(highest) == light.size:  # as most drawings: one is the paper's
            marks: Grey = (lowest if paper == high else highest).astype(np.float32)
            return marks
    # On paper of one colour the strength of ink depends on a pixel's level alone, so 256 values are computed.
    counts = np.bincount(light.ravel(), minlength=256).astype(np.float32)
    by_level = _strength((LEVELS - np.float32(paper)) / np.float32(255), counts)
    return by_level.take(light, mode="clip")


def _strength(difference: Grey, counts: Grey) -> Grey:
    """Strength of ink in 0..1 from differences to the paper, negative where darker. `counts`: pixels of each."""
    darker, lighter = np.maximum(-difference, 0), np.maximum(difference, 0)
    strength = darker if float((counts * darker**2).sum()) >= float((counts * lighter**2).sum()) else lighter
    marks = (strength > MIN_CONTRAST / 2) & (counts > 0)
    order = np.argsort(strength[marks])
    below = counts[marks][order].cumsum()
    # A full stroke is the 90th percentile of the marked pixels.
    strongest = float(strength[marks][order][np.searchsorted(below, 0.9 * below[-1])]) if below.size else 0.0
    if strongest < MIN_CONTRAST:
        raise NoDrawing("nothing stands out from the background: the picture is blank or far too faint")
    scaled: Grey = np.minimum(strength / np.float32(strongest), 1)
    return scaled


def _uneven_paper(light: Grey) -> Grey:
    """Estimate the paper's lightness under a drawing: the local median, over windows far wider than a stroke."""
    height, width = light.shape
    small = Image.fromarray(light).resize((32, 32), Image.Resampling.BOX)
    paper = ndimage.median_filter(np.asarray(small), size=9, mode="nearest")
    smooth = Image.fromarray(paper).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)


def _remove_specks(strength: Grey) -> Grey:
    """Remove grain and dust: connected marks with less than 1 % of all ink."""
    smooth = ndimage.gaussian_filter(strength, 0.8)
    marks, count = ndimage.label(smooth > 0.5, structure=np.ones((3, 3)))
    if count == 0:
        raise NoDrawing("only grain stands out from the background: no stroke was found")
    areas = np.bincount(marks.ravel())
    keep = areas >= 0.01 * areas[1:].sum()
    keep[0] = False
    return np.where(keep[marks], smooth, 0).astype(np.float32)


def frame(strength: Grey) -> Ink:
    """Scale and centre ink: strengths [h,w] in 0..1 -> canonical drawing [105,105]. Raises `NoDrawing` without ink."""
    top, bottom, left, right = _bounds(strength > 0.5)
    height, width = bottom - top, right - left
    scale = EXTENT / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    crop = Image.frombytes("F", (width, height), strength[top:bottom, left:right].tobytes())
    scaled = _pixels(crop.resize(size, Image.Resampling.BILINEAR), np.float32)  # antialiased when shrinking
    framed: Ink = np.zeros((SIDE, SIDE), dtype=np.bool_)
    y, x = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    # Thin strokes fade when shrunk, so the threshold follows the strongest ink that is left.
    framed[y : y + size[1], x : x + size[0]] = scaled > 0.5 * _strongest(scaled)
    if not np.count_nonzero(framed):
        raise NoDrawing("no stroke was found")
    return _thicken_fine_strokes(framed)


def _bounds(marked: Ink) -> tuple[int, int, int, int]:
    """The box around what is marked: its top, bottom, left and right, the second of each excluded.

    Raises `NoDrawing` if nothing is.
    """
    # measured: to search the bytes for the first and the last mark takes half the time of numpy's functions
    pixels, columns = marked.tobytes(), marked.any(axis=0).tobytes()
    first = pixels.find(1)
    if first < 0:
        raise NoDrawing("no stroke was found")
    width = marked.shape[1]
    return first // width, pixels.rfind(1) // width + 1, columns.find(1), columns.rfind(1) + 1


def _strongest(scaled: Grey) -> float:
    """The 99.5th percentile, at most 1. Where enough pixels are full ink, nothing need be sorted."""
    if np.count_nonzero(scaled >= 1) > 0.005 * scaled.size + 1:
        return 1.0
    return min(1.0, quantile(scaled, 0.995))


def quantile(values: Grey, share: float) -> float:
    """Quantile of all values, interpolated as numpy does, in a third of numpy's time. It runs for every image."""
    flat = values.ravel()
    place = share * (flat.size - 1)
    below = int(place)
    above = min(below + 1, flat.size - 1)
    low, high = np.partition(flat, (below, above))[[below, above]]
    return float(low + (high - low) * (place - below))


def _thicken_fine_strokes(framed: Ink) -> Ink:
    """Thicken strokes that are finer than those the model was trained on."""
    return ndimage.binary_dilation(framed, np.ones((3, 3))) if stroke_width(framed) < THIN_STROKE else framed


def stroke_width(framed: Ink) -> float:
    """Mean width of the strokes in pixels: a stroke of length l and width w has area l w and edges of length 2 l."""
    area = float(np.count_nonzero(framed))
    edges = float(np.count_nonzero(framed[1:] != framed[:-1]) + np.count_nonzero(framed[:, 1:] != framed[:, :-1]))
    # Counted along rows and columns, edges of all directions are 4/pi too long on average.
    return 2 * area / max(edges * np.pi / 4, 1.0)
