"""A task's whole classifier, phi and head, as one ONNX graph that runs without this project."""

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from model.backbones.efficientnet import InvertedBottleneck, LastLayerAndPooling, SameConv
from model.networks.conv_blocks import Residual
from model.networks.features import FeatureExtractor, FrozenBackbone

OPSET = 17
INPUT, FEATURES, OUTPUT = "images", "features", "probabilities"
CODES, LOGITS = "codes", "logits"


class _Graph:
    """Nodes and constants in the making; a node is known by the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.steps: dict[str, float] = {}  # between two levels, of what is rounded to bytes
        self.constants: list[onnx.TensorProto] = []

    def made(
        self, name: str, takes: list[onnx.ValueInfoProto], gives: onnx.ValueInfoProto, described: dict[str, str]
    ) -> bytes:
        """The finished file. Raises `onnx.checker.ValidationError` where it is none."""
        whole = helper.make_graph(self.nodes, name, takes, [gives], self.constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(whole, opset_imports=[opset], producer_name="leo", ir_version=8)
        helper.set_model_props(made, described)
        onnx.checker.check_model(made)
        return bytes(made.SerializeToString())

    def phi(self, phi: FeatureExtractor, images: str) -> str:
        """Images [B,1,R,R], or [B,3,R,R] for a pretrained backbone -> features [B,F]."""
        at, views = images, len(phi.views)
        if views:  # turned copies one behind the other in the batch, as many as phi looks at
            at = self.add("Concat", *(self.rotated(images, grid) for grid in phi.views), axis=0)
        at = self.chosen(phi, self.layer(phi.blocks, at))
        if phi.normalise:
            at = self.normalised(self.add("Sub", at, self.constant("centre", phi.centre)))
        if views:
            apart = self.add("Reshape", at, self.integers(views, -1, len(phi.centre)))
            at = self.add("ReduceMean", apart, axes=[0], keepdims=0)
            at = self.normalised(at) if phi.normalise else at
        return at

    def chosen(self, phi: FeatureExtractor, at: str) -> str:
        """What a backbone gives, [B,W] -> what `FeatureExtractor.select_parts` makes of it, [B,F]."""
        seen = []
        for part in phi.parts:
            one = self.add("Slice", at, *(self.integers(number) for number in (part.first, part.first + part.width, 1)))
            if phi.normalise and phi.power != 1:
                name = self.constant(f"power_{len(self.nodes)}", np.float32(phi.power))
                one = self.add("Mul", self.add("Sign", one), self.add("Pow", self.add("Abs", one), name))
            if phi.normalise and len(phi.parts) > 1:
                name = self.constant(f"weight_{len(self.nodes)}", np.float32(part.weight**0.5))
                one = self.add("Mul", self.normalised(one), name)
            seen.append(one)
        return self.add("Concat", *seen, axis=-1) if seen else at

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, values: Tensor | NDArray[np.float32] | np.float32) -> str:
        array = values.detach().cpu().float().contiguous().numpy() if isinstance(values, Tensor) else np.asarray(values)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def rotated(self, images: str, grid: Tensor) -> str:
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

    def shares(self, levels: str) -> str:
        """Bytes -> 0..1."""
        return self.add("Div", self.add("Cast", levels, to=TensorProto.FLOAT), self.constant("full", np.float32(255)))

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
        if isinstance(layer, FrozenBackbone):
            mean, std = (self.constant(name, getattr(layer, name)) for name in ("mean", "std"))
            return self.layer(layer.network, self.add("Div", self.add("Sub", at, mean), std))
        if isinstance(layer, InvertedBottleneck):
            out = self.layer(layer.layers, at)
            return self.add("Add", out, at) if layer.residual else out
        if isinstance(layer, LastLayerAndPooling):
            return self.pooled(layer, at)
        if isinstance(layer, SameConv):
            left, right, top, bottom = layer.uneven_padding or (*layer.conv.padding[:1],) * 4
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

    def pooled(self, layer: LastLayerAndPooling, taken: str) -> str:
        """A backbone's last layer and its means over positions, [B,C,h,h] -> [B,W]."""
        given = self.add("Reshape", self.layer(layer.last, taken), self.integers(0, 0, -1))  # [B, C', h h]
        both = self.add("MatMul", given, self.constant("windows", layer.windows))  # [B, C', 2]
        means = self.add("Flatten", self.add("Transpose", both, perm=[0, 2, 1]), axis=1)  # [B, 2C']
        before = self.add("Reshape", taken, self.integers(0, 0, -1))  # [B, C, h h]
        before = self.add("MatMul", before, self.constant("window", layer.windows[:, 1]))  # [B, C]
        apart = self.add("Sub", before, self.constant("taken.mean", layer.mean))
        apart = self.add("Div", apart, self.constant("taken.deviation", layer.deviation))
        return self.add("Concat", means, apart, axis=-1)

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


class _QuantisedGraph(_Graph):
    """A graph whose activations are bytes: what goes on between convolutions is rounded to 256 levels, and their
    weights, each channel's by itself, to 255.

    The levels of a ReLU6's output lie over 0 to 6. Those of any other layer's lie over what its BatchNorm says of
    it, so that no picture is needed (Nagel et al., 2019, section 4.2).
    """

    def shares(self, levels: str) -> str:
        return levels  # the first layer takes bytes as they are

    def rotated(self, images: str, grid: Tensor) -> str:  # noqa: ARG002
        raise TypeError("turned copies have no quantised form")

    def layer(self, layer: nn.Module, at: str) -> str:
        if isinstance(layer, FrozenBackbone):
            step, zero = 1 / (255 * layer.std), 255 * layer.mean
            if step.unique().numel() > 1 or zero.unique().numel() > 1 or (zero - zero.round()).abs().max() > 1e-4:
                raise TypeError("a backbone whose input is no multiple of a byte has no quantised form")
            return super().layer(layer.network, self.floats(at, float(step[0]), round(float(zero[0]))))
        if isinstance(layer, InvertedBottleneck):
            out = self.rounded(self.layer(layer.layers, at), *layer.projection_range)
            return self.rounded(self.add("Add", out, at), *layer.output_range) if layer.residual else out
        if isinstance(layer, nn.ReLU6):
            return self.rounded(at, 0.0, 6.0)
        if isinstance(layer, nn.Conv2d) and "activation_max" in dict(layer.named_buffers()):
            # Of phi's own blocks: behind it, or its pooling, is a ReLU, and so no level need be negative.
            at = at if at in self.steps else self.floats(at, 1 / 255, 0)  # the first one's: drawings
            return self.rounded(super().layer(layer, at), 0.0, float(layer.get_buffer("activation_max")))
        if isinstance(layer, nn.MaxPool2d):
            return self.rounded(super().layer(layer, at), 0.0, 255 * self.steps[at])
        if isinstance(layer, nn.ReLU):
            return at
        if isinstance(layer, nn.Sequential | SameConv | LastLayerAndPooling | nn.Flatten):
            return super().layer(layer, at)
        raise TypeError(f"{type(layer).__name__} has no quantised form")

    def convolution(self, layer: nn.Conv2d, at: str, pads: list[int]) -> str:
        name = f"conv_{len(self.nodes)}"
        weight = layer.weight.detach()
        step = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-8) / 127  # [C']
        whole = (weight / step.view(-1, 1, 1, 1)).round()
        inputs = [
            self.add(
                "DequantizeLinear",
                self.typed(f"{name}.weight", whole.to(torch.int8)),
                self.constant(f"{name}.step", step),
                axis=0,
            )
        ]
        if layer.bias is not None:
            fine = step * self.steps[at]
            whole = (layer.bias.detach() / fine).round()
            inputs.append(
                self.add(
                    "DequantizeLinear",
                    self.typed(f"{name}.bias", whole.to(torch.int32)),
                    self.constant(f"{name}.fine", fine),
                    axis=0,
                )
            )
        return self.add("Conv", at, *inputs, pads=pads, strides=list(layer.stride), group=layer.groups)

    def rounded(self, at: str, low: float, high: float) -> str:
        """The nearest of 256 levels from low to high, 0 among them."""
        step = (high - low) / 255
        zero = round(-low / step)
        name = f"level_{len(self.nodes)}"
        scale, offset = self.constant(f"{name}.step", np.float32(step)), self.byte(f"{name}.zero", zero)
        return self.floats(self.add("QuantizeLinear", at, scale, offset), step, zero)

    def floats(self, at: str, step: float, zero: int) -> str:
        """Bytes -> what they stand for."""
        name = f"float_{len(self.nodes)}"
        scale, offset = self.constant(f"{name}.step", np.float32(step)), self.byte(f"{name}.zero", zero)
        out = self.add("DequantizeLinear", at, scale, offset)
        self.steps[out] = step
        return out

    def byte(self, name: str, value: int) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=np.uint8), name))
        return name

    def typed(self, name: str, values: Tensor) -> str:
        self.constants.append(numpy_helper.from_array(values.contiguous().numpy(), name))
        return name
