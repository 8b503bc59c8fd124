"""A task's whole classifier, phi and head, as one ONNX graph that runs without this project."""

import json
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from model.backbones.efficientnet import InvertedBottleneck, SameConv
from model.leo import LatentEmbeddingOptimization
from model.networks import FeatureExtractor, Frozen, Residual

OPSET = 17
INPUT, FEATURES, OUTPUT = "images", "features", "probabilities"


def to_onnx(
    leo: LatentEmbeddingOptimization,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    labels: list[str],
    described: dict[str, str],
    shots: float = 1.0,
) -> bytes:
    """Head [N,F] and [N] of a LEO whose BatchNorm is folded -> graph: `images` [B,1,R,R] -> `probabilities` [B,N].

    Images are framed drawings, ink 1 on paper 0, as `model.drawings` makes them, or photos [B,3,R,R] in 0..1.
    The file's metadata holds the labels in order, the side R, and what is `described`. Raises `TypeError` for
    a layer it does not know.
    """
    graph, side = _Graph(), leo.config.resolution
    at = graph.phi(leo.classifier.phi, INPUT)
    at = graph.add("Gemm", at, graph.constant("fc.weight", weight), graph.constant("fc.bias", bias), transB=1)
    at = graph.add("Div", at, graph.constant("temperature", np.float32(leo.config.temperature_at(shots))))
    graph.add("Softmax", at, axis=-1, output=OUTPUT)

    images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", leo.config.channels, side, side])
    probabilities = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(labels)])
    props = described | {"labels": json.dumps(labels, ensure_ascii=False), "side": str(side)}
    return graph.made("leo", images, probabilities, props)


def phi_to_onnx(phi: FeatureExtractor, side: int) -> bytes:
    """A phi whose BatchNorm is folded -> graph: `images` uint8 [B,R,R], 255 full ink, or of a pretrained backbone
    [B,R,R,3], red, green and blue -> `features` [B,F].

    Raises `TypeError` for a layer it does not know.
    """
    graph = _Graph()
    levels = graph.add("Cast", INPUT, to=TensorProto.FLOAT)
    channels = [3] if isinstance(phi.blocks, Frozen) else []
    first = (
        graph.add("Transpose", levels, perm=[0, 3, 1, 2])
        if channels
        else graph.add("Unsqueeze", levels, graph.integers(1))
    )
    at = graph.phi(phi, graph.add("Div", first, graph.constant("full", np.float32(255))))
    graph.add("Identity", at, output=FEATURES)
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", side, side, *channels])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", len(phi.centre)])
    return graph.made("phi", images, features, {})


class _Graph:
    """Nodes and constants in the making; a node is known by the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def made(
        self, name: str, takes: onnx.ValueInfoProto, gives: onnx.ValueInfoProto, described: dict[str, str]
    ) -> bytes:
        """The finished file. Raises `onnx.checker.ValidationError` where it is none."""
        whole = helper.make_graph(self.nodes, name, [takes], [gives], self.constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(whole, opset_imports=[opset], producer_name="leo", ir_version=8)
        helper.set_model_props(made, described)
        onnx.checker.check_model(made)
        return bytes(made.SerializeToString())

    def phi(self, phi: FeatureExtractor, images: str) -> str:
        """Images [B,1,R,R], or [B,3,R,R] for a pretrained backbone -> features [B,F]."""
        at, views = images, len(phi.views)
        if views:  # turned copies one behind the other in the batch, as many as phi looks at
            at = self.add("Concat", *(self.seen(images, grid) for grid in phi.views), axis=0)
        at = self.layer(phi.blocks, at)
        if phi.normalise:
            at = self.normalised(self.add("Sub", at, self.constant("centre", phi.centre)))
        if views:
            apart = self.add("Reshape", at, self.integers(views, -1, len(phi.centre)))
            at = self.add("ReduceMean", apart, axes=[0], keepdims=0)
            at = self.normalised(at) if phi.normalise else at
        return at

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, values: Tensor | NDArray[np.float32] | np.float32) -> str:
        array = values.detach().cpu().float().contiguous().numpy() if isinstance(values, Tensor) else np.asarray(values)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def seen(self, images: str, grid: Tensor) -> str:
        """Images [B,1,R,R] at the places of a grid [R,R,2], for each of them the same."""
        batch = self.add("Slice", self.add("Shape", images), *(self.integers(number) for number in (0, 1)))
        name = self.constant(f"grid_{len(self.nodes)}", grid.unsqueeze(0))
        wanted = self.add("Concat", batch, self.integers(*grid.shape), axis=0)
        return self.add("GridSample", images, self.add("Expand", name, wanted), mode="bilinear", align_corners=0)

    def normalised(self, at: str) -> str:
        """Rows of length 1."""
        length = self.add("ReduceL2", at, axes=[-1], keepdims=1)
        name = self.constant(f"shortest_{len(self.nodes)}", np.float32(1e-12))
        return self.add("Div", at, self.add("Max", length, name))

    def integers(self, *values: int) -> str:
        name = f"integers_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def layer(self, layer: nn.Module, at: str) -> str:
        """One layer of phi's folded blocks, or several behind each other."""
        if isinstance(layer, nn.Sequential):
            for each in layer:
                at = self.layer(each, at)
            return at
        if isinstance(layer, Frozen):
            mean, std = (self.constant(name, getattr(layer, name)) for name in ("mean", "std"))
            return self.layer(layer.network, self.add("Div", self.add("Sub", at, mean), std))
        if isinstance(layer, InvertedBottleneck):
            out = self.layer(layer.layers, at)
            return self.add("Add", out, at) if layer.residual else out
        if isinstance(layer, SameConv):
            left, right, top, bottom = layer.uneven or (*layer.conv.padding[:1],) * 4
            return self.convolution(layer.conv, at, [int(side) for side in (top, left, bottom, right)])
        if isinstance(layer, nn.Conv2d):
            return self.convolution(layer, at, [int(side) for side in layer.padding] * 2)
        if isinstance(layer, nn.ReLU6):
            return self.add(
                "Clip",
                at,
                self.constant(f"least_{len(self.nodes)}", np.float32(0)),
                self.constant(f"most_{len(self.nodes)}", np.float32(6)),
            )
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return self.add("GlobalAveragePool", at)
        if isinstance(layer, nn.MaxPool2d):
            size = int(layer.kernel_size)  # type: ignore[arg-type]
            return self.add("MaxPool", at, kernel_shape=[size, size], strides=[size, size])
        if isinstance(layer, nn.AvgPool2d):
            size = int(layer.kernel_size)  # type: ignore[arg-type]
            return self.add("AveragePool", at, kernel_shape=[size, size], strides=[size, size])
        if isinstance(layer, nn.AdaptiveMaxPool2d):
            return self.add("GlobalMaxPool", at)
        if isinstance(layer, nn.GroupNorm):
            return self.group_norm(layer, at)
        if isinstance(layer, Residual):
            return self.add("Relu", self.add("Add", at, self.layer(layer.layers, at)))
        if isinstance(layer, nn.ReLU):
            return self.add("Relu", at)
        if isinstance(layer, nn.Flatten):
            return self.add("Flatten", at, axis=1)
        raise TypeError(f"no ONNX form is known here for {type(layer).__name__}")

    def group_norm(self, layer: nn.GroupNorm, at: str) -> str:
        """As instance normalisation of each group laid flat, then scaled and shifted channel by channel."""
        flat = self.add("Reshape", at, self.integers(0, layer.num_groups, -1))
        name = f"group_{len(self.nodes)}"
        ones = self.constant(f"{name}.ones", torch.ones(layer.num_groups))
        zeros = self.constant(f"{name}.zeros", torch.zeros(layer.num_groups))
        flat = self.add("InstanceNormalization", flat, ones, zeros, epsilon=layer.eps)
        back = self.add("Reshape", flat, self.add("Shape", at))
        scaled = self.add("Mul", back, self.constant(f"{name}.weight", layer.weight.view(-1, 1, 1)))
        return self.add("Add", scaled, self.constant(f"{name}.bias", layer.bias.view(-1, 1, 1)))

    def convolution(self, layer: nn.Conv2d, at: str, pads: list[int]) -> str:
        """`pads`: top, left, bottom, right."""
        name = f"conv_{len(self.nodes)}"
        weights = [self.constant(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            weights.append(self.constant(f"{name}.bias", layer.bias))
        return self.add("Conv", at, *weights, pads=pads, strides=list(layer.stride), group=layer.groups)
