"""`model.images.drawings` as ONNX nodes: from the pixels of any drawing to phi's input.

Every function here does what its namesake there does, which says why.
"""

import functools
import operator

import numpy as np
from scipy import ndimage

from model.images.drawings import EXTENT, MIN_CONTRAST, SIDE, THIN_STROKE, WORK_SIDE
from model.serving.export.pictures import FAR, contrasting_paper, resize_on_paper, to_grey
from model.serving.export.resampling import BICUBIC, BILINEAR, BOX, matrix, resample_levels, resize, whole
from model.serving.export.values import Value, choose, count_up, join, repeat_until_it_stays

MEDIAN_GRID, MEDIAN_WINDOW = 32, 9
SPECK_BLUR = 0.8  # standard deviation, pixels


def drawing_to_input(picture: Value, side: int) -> tuple[Value, Value]:
    """Frame a drawing: uint8 [H,W,1 to 4] -> uint8 [1, side, side], and whether there is one, bool [1]."""
    framed, found = frame(ink(grey(picture)))
    canonical = framed.reshape(1, SIDE, SIDE) * 255
    if side != SIDE:
        length, size = picture.constant(SIDE, np.int64), picture.constant(side, np.int64)
        weights = matrix(length, whole(length), size, BOX)
        canonical = resample_levels(canonical, weights, weights)
    return canonical.to(np.uint8), found


def grey(picture: Value) -> Value:
    """At most 400 pixels wide and high, opaque and grey: uint8 [H,W,1 to 4] -> whole levels, float32 [h,w]."""
    height, width = picture.size(0), picture.size(1)
    spans, sizes = (whole(height), whole(width)), _thumbnail_size(height, width)
    return to_grey(resize_on_paper(picture, spans, sizes, BOX, contrasting_paper))


def _thumbnail_size(height: Value, width: Value) -> tuple[Value, Value]:
    """`PIL.Image.Image.thumbnail`: the height and width of a picture within a square of `WORK_SIDE` pixels."""
    upright = height > width
    longer, shorter = height.maximum(width), height.minimum(width)
    # The shorter side is rounded so that the proportions change least.
    exact = shorter.to(np.float64) * WORK_SIDE / longer.to(np.float64)
    aspect = width.to(np.float64) / height.to(np.float64)
    below, above = exact.floor(), exact.ceil()
    off_below, off_above = (
        abs(aspect - upright.where(size / WORK_SIDE, size.constant(WORK_SIDE) / size)) for size in (below, above)
    )
    rounded = (off_below <= off_above).where(below, above).maximum(1).to(np.int64)
    fits = longer <= WORK_SIDE
    small = fits.where(shorter, rounded)
    large = longer.minimum(WORK_SIDE)
    return upright.where(large, small), upright.where(small, large)


def ink(light: Value) -> Value:
    """Separate ink from paper: whole levels [h,w] -> strength of ink [h,w] in 0..1; none anywhere without a drawing."""
    height, width = light.size(0), light.size(1)
    edges = [light.slice(0, 1, 0), light.slice(-1, FAR, 0), light.slice(0, 1, 1), light.slice(-1, FAR, 1)]
    border = join(*(edge.reshape(-1) for edge in edges))
    in_order, _ = border.ascending()
    paper = in_order.take(border.size(0) / 2)
    off_paper = (abs(border - paper) > 5).to(np.float32).total()
    is_uneven = off_paper > border.size(0).to(np.float32) * 0.25

    def on_uneven_paper() -> Value:
        levels = light / 255
        difference = (levels - _uneven_paper(levels)).reshape(-1)
        strength = _strength(difference, difference * 0 + 1)
        return _remove_specks(strength.reshape(height, width))

    def on_even_paper() -> Value:
        at = light.to(np.int64)
        flat = at.reshape(-1)
        counts = light.zeros(flat.constant(256)).scatter(flat, light.reshape(-1) * 0 + 1, "add")
        by_level = _strength((light.constant(np.arange(256)) - paper) / 255, counts)
        return by_level.take(at)

    return choose(is_uneven, on_uneven_paper, on_even_paper)


def _strength(difference: Value, counts: Value) -> Value:
    """Strength of ink in 0..1 from differences to the paper, negative where darker: [n], of `counts` pixels each."""
    darker, lighter = (-difference).maximum(0), difference.maximum(0)
    is_dark = (counts * darker * darker).total() >= (counts * lighter * lighter).total()
    strength = is_dark.where(darker, lighter)
    marked = (strength > MIN_CONTRAST / 2).to(np.float32) * counts
    in_order, positions = strength.ascending()
    below = marked.take(positions).node("CumSum", marked.constant(0, np.int64))
    total = below.slice(-1, FAR, 0)
    at = (below < total * 0.9).to(np.int64).total()
    strongest = in_order.take(at.minimum(below.size(0) - 1))
    is_drawing = (strongest >= MIN_CONTRAST) & (total > 0)
    return is_drawing.where((strength / strongest).minimum(1), strength * 0)


def _uneven_paper(light: Value) -> Value:
    """Estimate the paper's lightness under a drawing [h,w]: the local median, over windows wider than a stroke."""
    height, width = light.size(0), light.size(1)
    grid = height.constant(MEDIAN_GRID)
    small = resize(light.reshape(1, height, width), (whole(height), whole(width)), (grid, grid), BOX)
    around = np.arange(MEDIAN_GRID)[:, None] + np.arange(MEDIAN_WINDOW) - MEDIAN_WINDOW // 2
    window = height.constant(around.clip(0, MEDIAN_GRID - 1))  # [32, 9]
    windows = small.reshape(MEDIAN_GRID, MEDIAN_GRID).take(window, axis=0).take(window, axis=2)  # [32, 9, 32, 9]
    values = windows.transpose(0, 2, 1, 3).reshape(MEDIAN_GRID**2, MEDIAN_WINDOW**2)
    middle = MEDIAN_WINDOW**2 // 2
    lowest, _ = values.ascending(middle + 1)
    paper = lowest.slice(middle, middle + 1, 1).reshape(1, MEDIAN_GRID, MEDIAN_GRID)
    return resize(paper, (whole(grid), whole(grid)), (height, width), BICUBIC).reshape(height, width)


def _remove_specks(strength: Value) -> Value:
    """Remove connected marks [h,w] with less than 1 % of all ink."""
    smooth = _blur(_blur(strength, 0), 1)
    marks = smooth > 0.5
    component = _connected(marks)
    on_mark = marks.reshape(-1).to(np.float32)
    areas = (on_mark * 0).scatter(component, on_mark, "add")
    is_large = areas.take(component) >= on_mark.total() * 0.01
    keep = marks & is_large.reshape(marks.size(0), marks.size(1))
    return keep.where(smooth, smooth * 0)


def _blur(picture: Value, axis: int) -> Value:
    """`scipy.ndimage.gaussian_filter` along one axis, with its mirror at the edges."""
    reach = int(4 * SPECK_BLUR + 0.5)
    impulse = np.zeros(2 * reach + 1)
    impulse[reach] = 1
    kernel = ndimage.gaussian_filter1d(impulse, SPECK_BLUR, mode="constant")
    length = picture.size(axis)
    at = count_up(length + 2 * reach) - reach
    turn = length * 2
    at = (at + turn * reach) % turn
    mirrored = picture.take(at.minimum(turn - 1 - at), axis=axis)
    parts = [mirrored.slice(offset, length + offset, axis) * float(weight) for offset, weight in enumerate(kernel)]
    return functools.reduce(operator.add, parts)


def _connected(marks: Value) -> Value:
    """Number connected marks: bool [h,w] -> int64 [h w], equal for two marks if neighbours lead from one to the other.

    Source: FastSV (Zhang, Azad and Hu, 2020, arXiv 1910.05971). Each pixel points to one with a larger index in its
    component, until all point to the largest.
    """
    height, width = marks.size(0), marks.size(1)
    flat = marks.reshape(-1)
    start = count_up(height * width).to(np.float32)

    def step(parents: Value) -> Value:
        parent = parents.to(np.int64)
        grandparents = parents.take(parent)
        among_marks = flat.where(grandparents, grandparents * 0 - 1).reshape(height, width)
        around = flat.where(among_marks.largest_around().reshape(-1), grandparents)
        return parents.scatter(parent, around, "max").maximum(around)

    return repeat_until_it_stays(start, step).to(np.int64)


def frame(strength: Value) -> tuple[Value, Value]:
    """Scale and centre ink: strengths [h,w] -> canonical drawing, 0 or 1 [105,105], and whether there is one."""
    marked = (strength > 0.5).to(np.float32)
    found = marked.any()
    rows, columns = (marked.highest(axis) for axis in (1, 0))
    (top, bottom), (left, right) = ((line.first_true(), line.last_true() + 1) for line in (rows, columns))
    crop = strength.slice(top, bottom, 0).slice(left, right, 1)
    height, width = bottom - top, right - left
    scale = height.constant(EXTENT, np.float64) / height.maximum(width).to(np.float64)
    new_height, new_width = (
        (length.to(np.float64) * scale).round().to(np.int64).maximum(1) for length in (height, width)
    )
    spans = whole(height), whole(width)
    scaled = resize(crop.reshape(1, height, width), spans, (new_height, new_width), BILINEAR)
    scaled = scaled.reshape(new_height, new_width)
    inked = (scaled > _strongest(scaled) * 0.5).to(np.float32)
    above, beside = (-new_height + SIDE) / 2, (-new_width + SIDE) / 2
    framed = inked.pad(above, beside, -new_height - above + SIDE, -new_width - beside + SIDE)
    framed = framed.reshape(SIDE, SIDE)
    return _thicken_fine_strokes(framed), found & framed.any()


def _strongest(scaled: Value) -> Value:
    """The 99.5th percentile, at most 1, interpolated between two values."""
    in_order, _ = scaled.reshape(-1).ascending()
    last = in_order.size(0) - 1
    place = last.to(np.float64) * 0.995
    below = place.floor()
    low, high = (in_order.take(at) for at in (below.to(np.int64), (below.to(np.int64) + 1).minimum(last)))
    return (low + (high - low) * (place - below).to(np.float32)).minimum(1)


def _thicken_fine_strokes(framed: Value) -> Value:
    """Thicken strokes that are finer than those the model was trained on."""
    changes = [
        abs(framed.slice(1, SIDE, axis) - framed.slice(0, SIDE - 1, axis)).total().to(np.float64) for axis in (0, 1)
    ]
    edges = (changes[0] + changes[1]) * (np.pi / 4)
    width = framed.total().to(np.float64) * 2 / edges.maximum(1)
    return (width < THIN_STROKE).where(framed.largest_around(), framed)
