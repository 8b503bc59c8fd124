"""Exports a task's whole classifier to ONNX, from the pixels of any picture to the probabilities of the service."""

import json

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.leo import LatentEmbeddingOptimization
from model.serving.export.drawings import drawing_to_input
from model.serving.export.photos import photo_to_input
from model.serving.export.values import Value
from model.serving.onnx_graph import INPUT, OUTPUT, GraphBuilder, QuantisedGraphBuilder

PICTURE = "picture"


def to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    metadata: dict[str, str],
    shots: float = 1.0,
    *,
    quantised: bool = False,
) -> bytes:
    """Export a classifier that reads one picture: phi with a head [N,F] and [N] -> an ONNX file.

    Its input `picture` is uint8 [H,W,C] of any size, upright: grey, grey and alpha, RGB or RGBA. It is framed, or
    cropped, resized and normalised as `model.images` does. The output `probabilities` is [N]; it is not a number where
    a model of drawings finds no drawing. BatchNorm of the LEO must be folded. `shots` is the mean number of examples a
    class, which the temperature depends on. With `quantised`, phi runs in 8 bits, as it does on the service's CPU. The
    file's metadata holds the labels in order, the side R, and `metadata`. Raises `TypeError` for a layer without an
    ONNX form here.
    """
    graph = QuantisedGraphBuilder(portable=True) if quantised else GraphBuilder()
    side = leo.config.resolution
    picture = Value(graph, PICTURE, np.uint8)
    if leo.config.pretrained is None:
        pixels, found = drawing_to_input(picture, side)  # [1, R, R]
    else:
        pixels, found = photo_to_input(picture, side), None  # [3, R, R]
    batch = pixels.reshape(1, leo.config.channels, side, side)
    scaled = Value(graph, graph.scale_pixels(batch.name), np.float32)
    probabilities = _probabilities(graph, leo, scaled, weight, bias, shots).reshape(-1)
    if found is not None:
        probabilities = found.where(probabilities, probabilities * np.nan)
    probabilities.node("Identity", output=OUTPUT)
    given = helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, ["height", "width", "channels"])
    return _serialise(graph, given, [len(labels)], labels, metadata, side)


def prepared_to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    metadata: dict[str, str],
    shots: float = 1.0,
) -> bytes:
    """Export a classifier for batches that are prepared already: `images` [B,1,R,R] -> `probabilities` [B,N].

    Images are framed drawings, ink 1 on paper 0, as `model.images.drawings` makes them. For a pretrained backbone they
    are photos [B,3,R,R] in 0..1. All else is as `to_onnx` has it.
    """
    graph, side = GraphBuilder(), leo.config.resolution
    pixels = Value(graph, INPUT, np.float32)
    _probabilities(graph, leo, pixels, weight, bias, shots).node("Identity", output=OUTPUT)
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", leo.config.channels, side, side])
    return _serialise(graph, given, ["batch", len(labels)], labels, metadata, side)


def _probabilities(
    graph: GraphBuilder,
    leo: LatentEmbeddingOptimization,
    pixels: Value,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    shots: float,
) -> Value:
    """Add phi, the head and the calibrated softmax: [B,C,R,R] in 0..1 -> [B,N]."""
    features = Value(graph, graph.phi(leo.classifier.phi, pixels.name), np.float32)
    logits = features.node("Gemm", features.constant(weight), features.constant(bias), transB=1)
    return (logits / leo.config.temperature_at(shots, len(bias))).node("Softmax", axis=-1)


def _serialise(
    graph: GraphBuilder,
    given: onnx.ValueInfoProto,
    shape: list[int | str],
    labels: list[str],
    metadata: dict[str, str],
    side: int,
) -> bytes:
    probabilities = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)
    described = metadata | {"labels": json.dumps(labels, ensure_ascii=False), "side": str(side)}
    return graph.serialise("leo", [given], probabilities, described)
