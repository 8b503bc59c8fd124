"""Exports of parts to ONNX: phi alone, and logits from codes. `model.serving.export` exports whole classifiers."""

from onnx import TensorProto, helper
from torch import Tensor

from model.networks.features import FeatureExtractor, FrozenBackbone
from model.serving.adapt import Adapter
from model.serving.onnx_graph import CODES, FEATURES, INPUT, LOGITS, GraphBuilder
from model.serving.quantised_graph import QuantisedGraphBuilder


def phi_to_onnx(phi: FeatureExtractor, side: int, *, quantised: bool = False) -> bytes:
    """Export a phi whose BatchNorm is folded -> graph, `images` uint8 [B,R,R] -> `features` [B,F].

    Drawings have 255 for full ink. A pretrained backbone takes photos [B,R,R,3]: red, green, blue. With `quantised`
    weights and activations of its convolutions are rounded to 8 bits. Raises `TypeError` for a layer without an ONNX
    form here, or without a quantised one.
    """
    graph = QuantisedGraphBuilder() if quantised else GraphBuilder()
    channels = [3] if isinstance(phi.blocks, FrozenBackbone) else []
    if channels:
        pixels = graph.add("Transpose", INPUT, perm=[0, 3, 1, 2])  # [B, 3, R, R]
    else:
        pixels = graph.add("Unsqueeze", INPUT, graph.int64_constant(1))  # [B, 1, R, R]
    graph.add("Identity", graph.phi(phi, graph.scale_pixels(pixels)), output=FEATURES)
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", side, side, *channels])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", len(phi.centre)])
    return graph.serialise("phi", [images], [features], {})


def logits_to_onnx(adapter: Adapter) -> bytes:
    """Export `Adapter.logits` of a plain decoder -> graph, `features` [Q,F] and `codes` [N,L] -> `logits` [Q,N]."""
    graph, decoder = GraphBuilder(), adapter.leo.decoder

    def linear(at: str, name: str, weight: Tensor, bias: Tensor) -> str:
        """Add a linear layer: weight [in,out], bias [out]."""
        return graph.add("Gemm", at, graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias))

    hidden = CODES
    for name, layer in (("fc1", decoder.fc1), ("fc2", decoder.fc2)):
        hidden = graph.add("Relu", linear(hidden, name, layer.weight.T, layer.bias))
    last_input = hidden if decoder.skip is None else graph.add("Concat", hidden, CODES, axis=-1)  # [N, H+L]
    projection = adapter.feature_projection
    projected = linear(FEATURES, "projection", projection[:-1], projection[-1])  # [Q, H+L] or [Q, R]
    if adapter.basis is not None:
        last_input = graph.add("MatMul", last_input, graph.constant("last_layer", adapter.last_layer.T))  # [N, R]
    graph.add("Gemm", projected, last_input, transB=1, output=LOGITS)

    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["queries", len(projection) - 1])
    codes = helper.make_tensor_value_info(CODES, TensorProto.FLOAT, ["classes", decoder.fc1.in_features])
    logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["queries", "classes"])
    return graph.serialise("head logits", [features, codes], [logits], {})
