"""Pictures of one to four channels as ONNX nodes: resized as Pillow does, laid on paper where they are transparent."""

from collections.abc import Callable

import numpy as np

from model.serving.export.resampling import Filter, Span, resize_levels
from model.serving.export.values import Value, choose

WHITE, BLACK = 255, 0
FAR = 2**31  # an end of a slice, behind the end of any axis

Paper = Callable[[Value, Value], Value]  # its level, from colours [3,h,w] and alpha [1,h,w]


def resize_on_paper(
    picture: Value, spans: tuple[Span, Span], sizes: tuple[Value, Value], by: Filter, paper: Paper
) -> Value:
    """Resize a part of a picture and lay it on paper: uint8 [H,W,C] -> red, green and blue, whole levels [3, *sizes].

    C is 1 for grey, 2 for grey and alpha, 3 for RGB and 4 for RGBA.
    """
    channels = picture.size(2)
    numbers = (channels < 3).where(channels.constant([0, 0, 0]), channels.constant([0, 1, 2]))
    colours = picture.take(numbers, axis=2)

    def laid_on_paper() -> Value:
        alpha = picture.take(channels - 1, axis=2).to(np.float32)
        # Pillow multiplies colours by alpha before it resizes them, and leaves a picture that has its size as it is.
        keeps_size = picture.size(0).equals(sizes[0]) & picture.size(1).equals(sizes[1])
        weight = keeps_size.where(alpha.constant(255), alpha)
        weighted = _divide_by_255(colours.to(np.float32) * weight)
        small = resize_levels(weighted.node("Concat", alpha, axis=2), spans, sizes, by)
        seen, alpha = small.slice(0, 3, 0), small.slice(3, 4, 0)
        weight = keeps_size.where(alpha.constant(255), alpha)
        seen = (weight > 0).where((seen * 255 / weight.maximum(1)).floor().minimum(255), seen)
        return _divide_by_255(seen * alpha + paper(seen, alpha) * (-alpha + 255))

    return choose((channels % 2).equals(0), laid_on_paper, lambda: resize_levels(colours, spans, sizes, by))


def white_paper(colours: Value, _: Value) -> Value:
    """White, whatever is on it."""
    return colours.constant(WHITE)


def contrasting_paper(colours: Value, alpha: Value) -> Value:
    """Black where what is drawn is light, on a picture that is mostly transparent; else white."""
    light = to_grey(colours)
    weight = (alpha / 255).total()
    drawn = (light * alpha / 255).total() / weight.maximum(1e-6)
    see_through = weight < light.reshape(-1).size(0).to(np.float32) * (128 / 255)
    return ((drawn > 160) & see_through).where(colours.constant(BLACK), colours.constant(WHITE))


def to_grey(colours: Value) -> Value:
    """Whole levels of red, green and blue, float32 [3,h,w] -> whole levels of grey, float32 [h,w]; Pillow's weights."""
    weights = colours.constant([19595, 38470, 7471]).reshape(3, 1, 1)
    return (((colours * weights).sum(0) + 32768) / 65536).floor()


def _divide_by_255(products: Value) -> Value:
    return (products / 255).round()
