"""Builds ONNX graphs of phi whose convolutions are quantised to 8 bits."""

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from model.backbones.efficientnet import InvertedBottleneck, LastLayerAndPooling, SameConv
from model.backbones.join import Normalised, SideBySide
from model.backbones.onnx_file import OnnxEncoder
from model.networks.features import FrozenBackbone
from model.serving.onnx_graph import GraphBuilder


class QuantisedGraphBuilder(GraphBuilder):
    """Builds graphs whose convolutions run in 8 bits.

    Activations between layers are quantised to 256 levels, the weights of each channel to 255 levels. An activation's
    range needs no sample images: a ReLU6 gives 0 to 6, and for other layers it follows from the statistics of their
    BatchNorm (Nagel et al., 2019, arXiv 1906.04721, section 4.2). ONNX Runtime fuses each QuantizeLinear and
    DequantizeLinear with the convolution between them.

    With `portable` weights have no sign. On x86 CPUs without 8-bit dot products, sums of products of bytes with a sign
    and without overflow in ONNX Runtime; products of bytes without a sign do not, but take longer.
    """

    def __init__(self, *, portable: bool = False) -> None:
        super().__init__()
        self._portable = portable
        self.scales: dict[str, float] = {}  # of quantised activations by name: the difference between two levels

    def scale_pixels(self, pixels: str) -> str:
        """Leave pixels as they are: the first layer takes 8 bits."""
        return pixels

    def rotate(self, images: str, grid: Tensor) -> str:  # noqa: ARG002
        """Raise `TypeError`: sampling between pixels is not quantised."""
        raise TypeError("view_angles have no quantised form")

    def layer(self, layer: nn.Module, at: str) -> str:
        """Add a layer and quantise its output. Raises `TypeError` for one without a quantised form here."""
        if isinstance(layer, FrozenBackbone) and isinstance(layer.network, SideBySide):
            return self.layer(layer.network, at)
        if isinstance(layer, Normalised) and isinstance(layer.network, OnnxEncoder):
            name = self.constant(self.name("full"), np.float32(255))
            return super().layer(layer, self.add("Div", self.add("Cast", at, to=TensorProto.FLOAT), name))
        if isinstance(layer, FrozenBackbone | Normalised):
            scale, zero = 1 / (255 * layer.std), 255 * layer.mean
            if scale.unique().numel() > 1 or zero.unique().numel() > 1 or (zero - zero.round()).abs().max() > 1e-4:
                raise TypeError(
                    "a backbone has no quantised form unless its channels share a std and a whole pixel level as mean"
                )
            return super().layer(layer.network, self.dequantise(at, float(scale[0]), round(float(zero[0]))))
        if isinstance(layer, InvertedBottleneck):
            out = self.quantise(self.layer(layer.layers, at), *layer.projection_range)
            return self.quantise(self.add("Add", out, at), *layer.output_range) if layer.residual else out
        if isinstance(layer, nn.ReLU6):
            return self.quantise(at, 0.0, 6.0)
        if isinstance(layer, nn.Conv2d) and "activation_max" in dict(layer.named_buffers()):
            # One of phi's own blocks. A ReLU follows, at most after pooling, so no level need be negative.
            at = at if at in self.scales else self.dequantise(at, 1 / 255, 0)  # only the drawing has no scale yet
            return self.quantise(super().layer(layer, at), 0.0, float(layer.get_buffer("activation_max")))
        if isinstance(layer, nn.MaxPool2d):
            return self.quantise(super().layer(layer, at), 0.0, 255 * self.scales[at])
        if isinstance(layer, nn.ReLU):
            return at  # quantisation has already clipped negative values
        if isinstance(layer, nn.Sequential | SameConv | LastLayerAndPooling | nn.Flatten | SideBySide | OnnxEncoder):
            return super().layer(layer, at)
        raise TypeError(f"{type(layer).__name__} has no quantised form")

    def convolution(self, layer: nn.Conv2d, at: str, pads: list[int]) -> str:
        """Add a convolution with int8 weights, a scale for each channel, and an int32 bias."""
        name = f"conv_{len(self.nodes)}"
        weight = layer.weight.detach()
        scale = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-8) / 127  # [C']
        levels, zero = (weight / scale.view(-1, 1, 1, 1)).round().to(torch.int8), torch.zeros_like(scale).to(torch.int8)
        if self._portable:
            levels, zero = (each.int().add(128).to(torch.uint8) for each in (levels, zero))
        inputs = [
            self.add(
                "DequantizeLinear",
                self.integer_constant(f"{name}.weight", levels),
                self.constant(f"{name}.scale", scale),
                self.integer_constant(f"{name}.zero", zero),
                axis=0,
            )
        ]
        if layer.bias is not None:
            bias_scale = scale * self.scales[at]
            levels = (layer.bias.detach() / bias_scale).round().to(torch.int32)
            inputs.append(
                self.add(
                    "DequantizeLinear",
                    self.integer_constant(f"{name}.bias", levels),
                    self.constant(f"{name}.bias_scale", bias_scale),
                    axis=0,
                )
            )
        return self.add("Conv", at, *inputs, pads=pads, strides=list(layer.stride), group=layer.groups)

    def quantise(self, at: str, low: float, high: float) -> str:
        """Round to the nearest of 256 levels from low to high, with 0 among them."""
        scale = (high - low) / 255
        zero = round(-low / scale)
        name = f"level_{len(self.nodes)}"
        levels = self.add("QuantizeLinear", at, *self._scale_and_zero(name, scale, zero))
        return self.dequantise(levels, scale, zero)

    def dequantise(self, levels: str, scale: float, zero: int) -> str:
        """Turn uint8 levels into the values they stand for: scale * (level - zero)."""
        name = f"float_{len(self.nodes)}"
        values = self.add("DequantizeLinear", levels, *self._scale_and_zero(name, scale, zero))
        self.scales[values] = scale
        return values

    def _scale_and_zero(self, name: str, scale: float, zero: int) -> tuple[str, str]:
        """Add the constants of a quantisation: its scale, and the level that stands for 0."""
        level = self.integer_constant(f"{name}.zero", torch.tensor(zero, dtype=torch.uint8))
        return self.constant(f"{name}.scale", np.float32(scale)), level

    def integer_constant(self, name: str, values: Tensor) -> str:
        """Add a constant of the tensor's own integer type."""
        self.constants.append(numpy_helper.from_array(values.contiguous().numpy(), name))
        return name
