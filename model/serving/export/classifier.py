"""Exports a task's whole classifier to ONNX, from the pixels of any picture to the probabilities of the service."""

import json

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.background import LEAST_GAP
from model.leo import LatentEmbeddingOptimization
from model.negatives import LOSS, SHARE, Lines
from model.serving.export.drawings import drawing_to_input
from model.serving.export.photos import photo_to_input
from model.serving.export.values import Value
from model.serving.onnx_graph import INPUT, OUTPUT, GraphBuilder
from model.serving.quantised_graph import QuantisedGraphBuilder
from model.serving.task_background import TaskBackground

PICTURE, KNOWN = "picture", "known"


def to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    metadata: dict[str, str],
    shots: float = 1.0,
    shift: float = 0.0,
    background: TaskBackground | None = None,
    *,
    quantised: bool = False,
) -> bytes:
    """Export a classifier that reads one picture: phi with a head [N,F] and [N] -> an ONNX file.

    Its input `picture` is uint8 [H,W,C] of any size, upright: grey, grey and alpha, RGB or RGBA. It is framed, or
    cropped, resized and normalised as `model.images` does. The output `probabilities` is [N]; it is not a number
    where a model of drawings finds no drawing. With a background it also gives `known` [1]. BatchNorm of
    the LEO must be folded. `shots` is the mean number of examples a class, which the temperature depends on.
    `shift` is the task's, see `Background.shift`, which `known` depends on.
    `background` is the task's, see `model.serving.task_background`; without it there is no `known`. With `quantised`,
    phi runs in 8 bits, as it does on the service's CPU. The file's metadata holds the labels in order, the side R, and
    `metadata`. Raises `TypeError` for a layer without an ONNX form here.
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
    shapes: dict[str, list[int | str]] = {OUTPUT: [len(labels)], KNOWN: [1]}
    answers = _classify(graph, leo, scaled, weight, bias, shots, shift, background)
    for name, answer in answers.items():
        flat = answer.reshape(-1)
        (flat if found is None else found.where(flat, flat * np.nan)).node("Identity", output=name)
    given = helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, ["height", "width", "channels"])
    return _serialise(graph, given, {name: shapes[name] for name in answers}, labels, metadata, side)


def prepared_to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    metadata: dict[str, str],
    shots: float = 1.0,
    shift: float = 0.0,
    background: TaskBackground | None = None,
) -> bytes:
    """Export a classifier for batches that are prepared already: `images` [B,1,R,R] -> `probabilities` [B,N].

    With a background it also gives `known` [B].
    Images are framed drawings, ink 1 on paper 0, as `model.images.drawings` makes them. For a pretrained backbone they
    are photos [B,3,R,R] in 0..1. All else is as `to_onnx` has it.
    """
    graph, side = GraphBuilder(), leo.config.resolution
    pixels = Value(graph, INPUT, np.float32)
    answers = _classify(graph, leo, pixels, weight, bias, shots, shift, background)
    for name, answer in answers.items():
        answer.node("Identity", output=name)
    shapes: dict[str, list[int | str]] = {OUTPUT: ["batch", len(labels)], KNOWN: ["batch"]}
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", leo.config.channels, side, side])
    return _serialise(graph, given, {name: shapes[name] for name in answers}, labels, metadata, side)


def _classify(
    graph: GraphBuilder,
    leo: LatentEmbeddingOptimization,
    pixels: Value,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    shots: float,
    shift: float,
    background: TaskBackground | None,
) -> dict[str, Value]:
    """Add phi, the head and the calibrated softmax: [B,C,R,R] in 0..1 -> `probabilities` [B,N], perhaps `known` [B]."""
    features = Value(graph, graph.phi(leo.classifier.phi, pixels.name), np.float32)
    logits = features.node("Gemm", features.constant(weight), features.constant(bias), transB=1)
    answers = {OUTPUT: (logits / leo.config.temperature_at(shots, len(bias))).node("Softmax", axis=-1)}
    if background is not None:
        answers[KNOWN] = _known(features, logits, background, shots, shift)
    return answers


def _known(features: Value, logits: Value, task: TaskBackground, shots: float, shift: float) -> Value:
    """Add what `TaskBackground.score` and `Background.known` compute: features [B,F], logits [B,N] -> [B]."""
    background, lines = task.background, task.lines
    heads = background.heads / background.temperature  # [C, F+1]
    others = features.node(
        "Gemm", features.constant(heads[:, :-1]), features.constant(heads[:, -1]), transB=1
    )  # [B, C]
    every = others.node("ReduceLogSumExp", others.constant(1, np.int64), keepdims=0)  # [B]
    score = logits.highest(1) / background.temperature - every  # [B]
    if lines is not None:
        score = score - _lost(features, lines)
    score = score.reshape(-1, 1)
    quantiles = background.quantiles_at(np.array([shots], dtype=np.float32))[0] + np.float32(shift)  # [P]
    gaps = np.maximum(np.diff(quantiles), LEAST_GAP)
    # How far the score is through each gap between two quantiles, 0 to 1, times the share of pictures in that gap.
    passed = ((score - score.constant(quantiles[:-1])) / score.constant(gaps)).maximum(0).minimum(1)  # [B, P-1]
    return (passed * passed.constant(np.diff(background.levels))).sum(1)


def _lost(features: Value, lines: Lines) -> Value:
    """Add what `Lines.losses` computes: features [B,F] -> [B]."""

    def gone(heads: NDArray[np.float32]) -> Value:
        return features.node("Gemm", features.constant(heads[:, :-1]), features.constant(heads[:, -1]), transB=1)

    ways = len(lines.heads) - len(lines.lengths)
    to_best = gone(lines.heads[:ways]).highest(1).reshape(-1, 1)
    leads = (gone(lines.heads[ways:]) - to_best * SHARE) / features.constant(lines.lengths)  # [B, M]
    return (leads.highest(1) - lines.free).maximum(0) * LOSS


def _serialise(
    graph: GraphBuilder,
    given: onnx.ValueInfoProto,
    shapes: dict[str, list[int | str]],
    labels: list[str],
    metadata: dict[str, str],
    side: int,
) -> bytes:
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    described = metadata | {"labels": json.dumps(labels, ensure_ascii=False), "side": str(side)}
    return graph.serialise("leo", [given], answers, described)
