"""Builds ONNX graphs of phi layer by layer, in float32. `quantised_graph` beside it builds them in 8 bits."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.version_converter
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from model.backbones.efficientnet import InvertedBottleneck, LastLayerAndPooling, SameConv
from model.backbones.join import Normalised, SideBySide
from model.backbones.onnx_file import OnnxEncoder
from model.networks.conv_blocks import Residual
from model.networks.features import FeatureExtractor, FrozenBackbone

OPSET = 18
INPUT, FEATURES, OUTPUT = "images", "features", "probabilities"
CODES, LOGITS = "codes", "logits"


class GraphBuilder:
    """Collects the nodes and constants of a graph in float32. A method that adds a node returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._numbers = itertools.count()

    def serialise(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], metadata: dict[str, str]
    ) -> bytes:
        """Make an ONNX file of all nodes. Raises `onnx.checker.ValidationError` where the graph is not valid."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="leo", ir_version=8)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def name(self, kind: str) -> str:
        """A name that nothing else in the graph has."""
        return f"{kind}_{next(self._numbers)}"

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node of an ONNX operator."""
        return self.add_outputs(kind, *inputs, outputs=[output or self.name(kind)], **attributes)[0]

    def add_outputs(self, kind: str, *inputs: str, outputs: list[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs of these names, and return them."""
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    @contextlib.contextmanager
    def subgraph(self) -> Iterator[list[onnx.NodeProto]]:
        """Collect the nodes that are added meanwhile apart, for a branch or a loop."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def constant(self, name: str, values: Tensor | NDArray[np.float32] | np.float32) -> str:
        """Add a float32 constant."""
        array = values.detach().cpu().float().contiguous().numpy() if isinstance(values, Tensor) else np.asarray(values)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def int64_constant(self, *values: int) -> str:
        """Add a constant of integers, [len(values)]."""
        name = f"integers_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def scale_pixels(self, pixels: str) -> str:
        """Turn uint8 pixels into what `phi` takes: floats in 0..1."""
        return self.add("Div", self.add("Cast", pixels, to=TensorProto.FLOAT), self.constant("full", np.float32(255)))

    def phi(self, phi: FeatureExtractor, images: str) -> str:
        """Add a whole phi: images [B,1,R,R], or [B,3,R,R] for a pretrained backbone -> features [B,F]."""
        at, views = images, len(phi.views)
        if views:  # rotated copies, one after the other along the batch
            at = self.add("Concat", *(self.rotate(images, grid) for grid in phi.views), axis=0)
        at = self.select_parts(phi, self.layer(phi.blocks, at))
        if phi.normalise:
            at = self.add("Sub", at, self.constant("centre", phi.centre))
            at = self.normalise(self.weight_parts(phi, at) if phi.joined else at)
        if views:
            by_view = self.add("Reshape", at, self.int64_constant(views, -1, len(phi.centre)))
            at = self.add("ReduceMean", by_view, self.int64_constant(0), keepdims=0)
            at = self.normalise(at) if phi.normalise else at
        return at

    def select_parts(self, phi: FeatureExtractor, outputs: str) -> str:
        """Add `FeatureExtractor.select_parts`: outputs of a backbone [B,W] -> [B,F]."""
        parts = []
        for part in phi.parts:
            bounds = (part.first, part.first + part.width, 1)
            at = self.add("Slice", outputs, *(self.int64_constant(bound) for bound in bounds))
            if phi.normalise and phi.power != 1:
                name = self.constant(f"power_{len(self.nodes)}", np.float32(phi.power))
                at = self.add("Mul", self.add("Sign", at), self.add("Pow", self.add("Abs", at), name))
            if phi.normalise and len(phi.parts) > 1 and not phi.joined:
                name = self.constant(f"weight_{len(self.nodes)}", np.float32(part.weight**0.5))
                at = self.add("Mul", self.normalise(at), name)
            parts.append(at)
        return self.add("Concat", *parts, axis=-1) if parts else outputs

    def weight_parts(self, phi: FeatureExtractor, at: str) -> str:
        """Scale each part of joined backbones' centred features to the length that is its weight: [B,F] -> [B,F]."""
        parts, first = [], 0
        for part, weight in zip(phi.parts, phi.part_weights, strict=True):
            bounds = (first, first + part.width, 1)
            some = self.normalise(self.add("Slice", at, *(self.int64_constant(bound) for bound in bounds)))
            parts.append(self.add("Mul", some, self.constant(self.name("part_weight"), weight)))
            first += part.width
        return self.add("Concat", *parts, axis=-1)

    def rotate(self, images: str, grid: Tensor) -> str:
        """Sample every image [B,1,R,R] at the places of one grid [R,R,2]."""
        batch = self.add("Slice", self.add("Shape", images), *(self.int64_constant(number) for number in (0, 1)))
        name = self.constant(f"grid_{len(self.nodes)}", grid.unsqueeze(0))
        shape = self.add("Concat", batch, self.int64_constant(*grid.shape), axis=0)
        return self.add("GridSample", images, self.add("Expand", name, shape), mode="bilinear", align_corners=0)

    def normalise(self, at: str) -> str:
        """Scale rows to length 1."""
        length = self.add("ReduceL2", at, self.int64_constant(-1), keepdims=1)
        name = self.constant(f"shortest_{len(self.nodes)}", np.float32(1e-12))
        return self.add("Div", at, self.add("Max", length, name))

    def layer(self, layer: nn.Module, at: str) -> str:
        """Add a layer, or a sequence of layers. Raises `TypeError` for one without an ONNX form here."""
        if isinstance(layer, nn.Sequential):
            for each in layer:
                at = self.layer(each, at)
            return at
        if isinstance(layer, FrozenBackbone | Normalised):
            mean, std = (self.constant(self.name(name), getattr(layer, name)) for name in ("mean", "std"))
            return self.layer(layer.network, self.add("Div", self.add("Sub", at, mean), std))
        if isinstance(layer, SideBySide):
            return self.add("Concat", *(self.layer(network, at) for network in layer.networks), axis=-1)
        if isinstance(layer, OnnxEncoder):
            return self.encoder(layer, at)
        if isinstance(layer, InvertedBottleneck):
            out = self.layer(layer.layers, at)
            return self.add("Add", out, at) if layer.residual else out
        if isinstance(layer, LastLayerAndPooling):
            return self.last_layer_and_pooling(layer, at)
        if isinstance(layer, SameConv):
            left, right, top, bottom = layer.uneven_padding or (*layer.conv.padding[:1],) * 4
            return self.convolution(layer.conv, at, [int(side) for side in (top, left, bottom, right)])
        if isinstance(layer, nn.Conv2d):
            return self.convolution(layer, at, [int(side) for side in layer.padding] * 2)
        if isinstance(layer, nn.ReLU6):
            low, high = (f"{name}_{len(self.nodes)}" for name in ("low", "high"))
            return self.add("Clip", at, self.constant(low, np.float32(0)), self.constant(high, np.float32(6)))
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

    def encoder(self, layer: OnnxEncoder, images: str) -> str:
        """Add a foreign encoder, for one image after the other: [B,3,R,R] -> [B,W].

        Encoders in 8 bits choose the range of their activations by the whole batch; so an image's features do not
        depend on the others. Raises `TypeError` for a graph that cannot be brought to the version of this one.
        """
        try:
            model = onnx.version_converter.convert_version(onnx.load_from_string(layer.data), OPSET)
        except Exception as error:  # of several kinds, out of C++
            raise TypeError(f"an encoder cannot be brought to ONNX's operators of version {OPSET} ({error})") from error
        prefix = self.name("encoder")
        graph = onnx.compose.add_prefix_graph(model.graph, f"{prefix}/")
        self.constants.extend(graph.initializer)
        weights = {tensor.name for tensor in graph.initializer}
        (image,) = (each.name for each in graph.input if each.name not in weights)
        one = self.name("image")  # [3, R, R]
        with self.subgraph() as nodes:
            self.add("Unsqueeze", one, self.int64_constant(0), output=image)
            nodes.extend(graph.node)
            vectors = []
            for output in layer.outputs:
                at = f"{prefix}/{output.name}"  # [1, W], or [1, T, W]
                if output.sequence:
                    at = self.add("Gather", at, self.int64_constant(0), axis=1)  # [1, 1, W]
                vectors.append(self.add("Reshape", at, self.int64_constant(-1)))
            row = self.add("Concat", *vectors, axis=0)
        body = helper.make_graph(
            nodes,
            prefix,
            [helper.make_tensor_value_info(one, TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info(row, TensorProto.FLOAT, [layer.width])],
        )
        return self.add("Scan", images, body=body, num_scan_inputs=1)

    def last_layer_and_pooling(self, layer: LastLayerAndPooling, maps: str) -> str:
        """Add a backbone's last layer and its means over positions: [B,C,h,h] -> [B,W]."""
        outputs = self.add("Reshape", self.layer(layer.last, maps), self.int64_constant(0, 0, -1))  # [B, C', h h]
        both = self.add("MatMul", outputs, self.constant("windows", layer.windows))  # [B, C', 2]
        means = self.add("Flatten", self.add("Transpose", both, perm=[0, 2, 1]), axis=1)  # [B, 2C']
        inputs = self.add("Reshape", maps, self.int64_constant(0, 0, -1))  # [B, C, h h]
        inputs = self.add("MatMul", inputs, self.constant("window", layer.windows[:, 1]))  # [B, C]
        centred = self.add("Sub", inputs, self.constant("input.mean", layer.mean))
        standardised = self.add("Div", centred, self.constant("input.deviation", layer.deviation))
        return self.add("Concat", means, standardised, axis=-1)

    def group_norm(self, layer: nn.GroupNorm, at: str) -> str:
        """Add a GroupNorm: instance normalisation of each flattened group, then a scale and shift for each channel."""
        flat = self.add("Reshape", at, self.int64_constant(0, layer.num_groups, -1))
        name = f"group_{len(self.nodes)}"
        ones = self.constant(f"{name}.ones", torch.ones(layer.num_groups))
        zeros = self.constant(f"{name}.zeros", torch.zeros(layer.num_groups))
        flat = self.add("InstanceNormalization", flat, ones, zeros, epsilon=layer.eps)
        back = self.add("Reshape", flat, self.add("Shape", at))
        scaled = self.add("Mul", back, self.constant(f"{name}.weight", layer.weight.view(-1, 1, 1)))
        return self.add("Add", scaled, self.constant(f"{name}.bias", layer.bias.view(-1, 1, 1)))

    def convolution(self, layer: nn.Conv2d, at: str, pads: list[int]) -> str:
        """Add a convolution; `pads` are top, left, bottom, right."""
        name = f"conv_{len(self.nodes)}"
        weights = [self.constant(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            weights.append(self.constant(f"{name}.bias", layer.bias))
        return self.add("Conv", at, *weights, pads=pads, strides=list(layer.stride), group=layer.groups)
