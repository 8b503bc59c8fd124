"""Pillow's resizing as ONNX nodes: a matrix for each axis, with Pillow's weights and its rounding to whole levels.

Source: `Resample.c`, `Reduce.c` and `Image.resize` of Pillow.
"""

from dataclasses import dataclass

import numpy as np

from model.serving.export.values import Value, choose, count_up

GAP = 2.0  # Pillow's `reducing_gap`, with which the service resizes


@dataclass(frozen=True)
class Span:
    """A part of one axis, in pixels: float64 [1] each."""

    start: Value
    end: Value


@dataclass(frozen=True)
class Filter:
    """A filter of Pillow, which reaches `support` pixels of the smaller picture to either side."""

    name: str
    support: float

    def weights(self, x: Value) -> Value:
        """The filter's value at these distances, float64."""
        if self.name == "box":
            return ((x > -0.5) & (x <= 0.5)).to(np.float64)
        x = abs(x)
        if self.name == "bilinear":
            return (-x + 1).maximum(0)
        a = -0.5
        near = ((x * (a + 2)) - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return (x < 1).where(near, (x < 2).where(far, x.constant(0)))


BOX, BILINEAR, BICUBIC = Filter("box", 0.5), Filter("bilinear", 1.0), Filter("bicubic", 2.0)


def whole(length: Value) -> Span:
    """The whole of an axis of this length, int64 [1]."""
    return Span(length.constant(0, np.float64), length.to(np.float64))


def matrix(length: Value, span: Span, size: Value, by: Filter) -> Value:
    """Weights that resample a span of an axis: lengths int64 [1] -> float64 [size, length]."""
    scale = (span.end - span.start) / size.to(np.float64)
    stretch = scale.maximum(1)
    support = stretch * by.support
    centre = (count_up(size).to(np.float64) + 0.5) * scale + span.start
    centre = centre.reshape(-1, 1)  # [size, 1]
    first = (centre - support + 0.5).to(np.int64).maximum(0)
    last = (centre + support + 0.5).to(np.int64).minimum(length)
    at = count_up(length)  # [length]
    weights = by.weights((at.to(np.float64) - centre + 0.5) / stretch)
    inside = (first <= at) & (at < last)
    weights = inside.where(weights, weights.constant(0))
    return weights / weights.sum(1, keep=True)


def resize(picture: Value, spans: tuple[Span, Span], sizes: tuple[Value, Value], by: Filter) -> Value:
    """Resize a part of a picture: float32 [C,h,w], spans and sizes of its rows and columns -> [C, *sizes]."""
    rows, columns = (
        matrix(picture.size(axis), span, size, by) for axis, span, size in zip((1, 2), spans, sizes, strict=True)
    )
    wide = (picture.to(np.float64) @ columns.transpose(1, 0)).to(np.float32)
    return (rows @ wide.to(np.float64)).to(np.float32)


def resize_levels(picture: Value, spans: tuple[Span, Span], sizes: tuple[Value, Value], by: Filter) -> Value:
    """Resize a part of a picture of whole levels as Pillow does: [h,w,C] -> float32 [C, *sizes], whole levels.

    It is first reduced by whole factors, to at least twice its new size.
    """
    (rows, row_factor), (columns, column_factor) = (
        _span_to_reduce(picture.size(axis), span, size, by)
        for axis, span, size in zip((0, 1), spans, sizes, strict=True)
    )
    part = picture.slice(rows[0], rows[1], 0).slice(columns[0], columns[1], 1).to(np.float32).transpose(2, 0, 1)
    is_large = row_factor.maximum(column_factor) > 1
    reduced = choose(is_large, lambda: _reduce(part, row_factor, column_factor), lambda: part.node("Identity"))
    spans = _reduced(spans[0], rows[0], row_factor), _reduced(spans[1], columns[0], column_factor)
    weights = [
        matrix(reduced.size(axis), span, size, by) for axis, span, size in zip((1, 2), spans, sizes, strict=True)
    ]
    return resample_levels(reduced, weights[0], weights[1])


def resample_levels(levels: Value, rows: Value, columns: Value) -> Value:
    """Multiply whole levels [C,h,w] with weights of rows and columns -> whole levels in 0..255, float32 [C,h',w'].

    Pillow computes with integers, weights being multiples of 2**-22. In float64 this is exact in any order.
    """
    rows, columns = ((weights * 2**22).round_half_away() / 2**22 for weights in (rows, columns))
    wide = _whole(levels.to(np.float64) @ columns.transpose(1, 0))
    return _whole(rows @ wide).to(np.float32)


def _whole(values: Value) -> Value:
    return (values + 0.5).floor().maximum(0).minimum(255)


def _span_to_reduce(length: Value, span: Span, size: Value, by: Filter) -> tuple[tuple[Value, Value], Value]:
    """The pixels of an axis that a reduction takes, from the first up to the one after the last, and its factor."""
    scale = (span.end - span.start) / size.to(np.float64)
    factor = (scale / GAP).to(np.int64).maximum(1)
    reach = scale.maximum(1) * (by.support - 0.5)
    first = (span.start - reach).to(np.int64).maximum(0)
    last = (span.end + reach).ceil().to(np.int64).minimum(length)
    return (first, last), factor


def _reduced(span: Span, first: Value, factor: Value) -> Span:
    """Where a span lies in the reduced axis."""
    start, by = first.to(np.float64), factor.to(np.float64)
    return Span((span.start - start) / by, (span.end - start) / by)


def _blocks(length: Value, factor: Value) -> Value:
    """How many pixels each block of an axis has, float32 [ceil(length / factor)]: the last block may have fewer."""
    starts = count_up((length + factor - 1) / factor) * factor
    return (-starts + length).minimum(factor).to(np.float32)


def _reduce(picture: Value, row_factor: Value, column_factor: Value) -> Value:
    """`PIL.Image.Image.reduce`: the means of blocks, in whole levels, [C,h,w] -> [C, ceil(h / f), ceil(w / f')]."""
    channels, height, width = (picture.size(axis) for axis in range(3))
    counts = _blocks(height, row_factor).reshape(-1, 1) * _blocks(width, column_factor)
    rows, columns = counts.size(0), counts.size(1)
    padded = picture.pad(0, 0, 0, 0, rows * row_factor - height, columns * column_factor - width)
    sums = padded.reshape(channels * rows, row_factor, -1).sum(1)
    sums = sums.reshape(channels * rows * columns, column_factor).sum(1).reshape(channels, rows, columns)
    # Pillow divides by a count as it multiplies by 2**24 / count, rounded down, and shifts.
    reciprocals = (counts.constant(2**24) / counts).floor().to(np.float64)
    means = (sums + (counts / 2).floor()).to(np.float64) * reciprocals / 2**24
    return means.floor().to(np.float32)
