"""phi, heads and whole classifiers as ONNX graphs, to serve and to take away."""

import json

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor, FrozenBackbone
from model.serving.adapt import Adapter
from model.serving.onnx_graph import CODES, FEATURES, INPUT, LOGITS, OUTPUT, _Graph, _QuantisedGraph


def to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    described: dict[str, str],
    shots: float = 1.0,
) -> bytes:
    """Head [N,F] and [N] of a LEO whose BatchNorm is folded -> graph: `images` [B,1,R,R] -> `probabilities` [B,N].

    Images are framed drawings, ink 1 on paper 0, as `model.images.drawings` makes them, or photos [B,3,R,R] in 0..1.
    The file's metadata holds the labels in order, the side R, and what is `described`. Raises `TypeError` for
    a layer it does not know.
    """
    graph, side = _Graph(), leo.config.resolution
    at = graph.phi(leo.classifier.phi, INPUT)
    at = graph.add("Gemm", at, graph.constant("fc.weight", weight), graph.constant("fc.bias", bias), transB=1)
    at = graph.add("Div", at, graph.constant("temperature", np.float32(leo.config.temperature_at(shots, len(labels)))))
    graph.add("Softmax", at, axis=-1, output=OUTPUT)

    images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", leo.config.channels, side, side])
    probabilities = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(labels)])
    props = described | {"labels": json.dumps(labels, ensure_ascii=False), "side": str(side)}
    return graph.made("leo", [images], probabilities, props)


def phi_to_onnx(phi: FeatureExtractor, side: int, *, quantised: bool = False) -> bytes:
    """A phi whose BatchNorm is folded -> graph: `images` uint8 [B,R,R], 255 full ink, or of a pretrained backbone
    [B,R,R,3], red, green and blue -> `features` [B,F].

    With `quantised` its convolutions take and give bytes, which some processors are much faster at.
    Raises `TypeError` for a layer it does not know, or has no such form of.
    """
    graph = _QuantisedGraph() if quantised else _Graph()
    channels = [3] if isinstance(phi.blocks, FrozenBackbone) else []
    first = (
        graph.add("Transpose", INPUT, perm=[0, 3, 1, 2])
        if channels
        else graph.add("Unsqueeze", INPUT, graph.integers(1))
    )
    graph.add("Identity", graph.phi(phi, graph.shares(first)), output=FEATURES)
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", side, side, *channels])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", len(phi.centre)])
    return graph.made("phi", [images], features, {})


def logits_to_onnx(adapter: Adapter) -> bytes:
    """`Adapter.logits` of a plain decoder -> graph: `features` [Q,F] and `codes` [N,L] -> `logits` [Q,N]."""
    graph, decoder = _Graph(), adapter.leo.decoder

    def linear(at: str, name: str, weight: Tensor, bias: Tensor) -> str:
        """Weight [in,out], bias [out]."""
        return graph.add("Gemm", at, graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias))

    hidden = CODES
    for name, layer in (("fc1", decoder.fc1), ("fc2", decoder.fc2)):
        hidden = graph.add("Relu", linear(hidden, name, layer.weight.T, layer.bias))
    state = hidden if decoder.skip is None else graph.add("Concat", hidden, CODES, axis=-1)  # [N, H+L]
    met = linear(FEATURES, "met", adapter.meets_features[:-1], adapter.meets_features[-1])  # [Q, H+L] or [Q, R]
    if adapter.basis is not None:
        state = graph.add("MatMul", state, graph.constant("last", adapter.last.T))  # [N, R]
    graph.add("Gemm", met, state, transB=1, output=LOGITS)

    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["queries", len(adapter.meets_features) - 1])
    codes = helper.make_tensor_value_info(CODES, TensorProto.FLOAT, ["classes", decoder.fc1.in_features])
    logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["queries", "classes"])
    return graph.made("by codes", [features, codes], logits, {})
