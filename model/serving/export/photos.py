"""`model.images.photos` as ONNX nodes: from the pixels of any photo to a backbone's input."""

import numpy as np

from model.serving.export.pictures import resize_on_paper, white_paper
from model.serving.export.resampling import BICUBIC, Span
from model.serving.export.values import Value


def photo_to_input(picture: Value, side: int) -> Value:
    """Crop to the square in the middle and resize: uint8 [H,W,1 to 4] -> uint8 [3, side, side]."""
    lengths = picture.size(0), picture.size(1)
    square = lengths[0].minimum(lengths[1]).to(np.float64)
    starts = [(length.to(np.float64) - square) / 2 for length in lengths]
    spans = Span(starts[0], starts[0] + square), Span(starts[1], starts[1] + square)
    size = picture.constant(side, np.int64)
    return resize_on_paper(picture, spans, (size, size), BICUBIC, white_paper).to(np.uint8)
