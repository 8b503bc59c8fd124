"""Frozen EfficientNet-Lite networks (Tan and Le, 2019, arXiv 1905.11946), built from a file of weights.

The Lite variants have no squeeze-and-excite, and ReLU6 as activation. Widths, kernel sizes and expansions follow from
the tensors' shapes; only strides and repeats are given here. Each BatchNorm is folded into its convolution on loading.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPSILON = 1e-3
CENTRE_STD = 2 / 7  # standard deviation, in sides of the feature map, of the Gaussian that weights central positions
RANGE_IN_STDS = 6.0  # a channel's values are expected within so many standard deviations of their mean
#: (stride, repeats) of each stage of Lite0. Deeper variants repeat all but the first and last stage more often.
STAGES = ((1, 1), (2, 2), (2, 2), (2, 3), (1, 3), (2, 4), (1, 1))


class SameConv(nn.Module):
    """A convolution with TensorFlow's "same" padding: where the padding is odd, the larger half is below and right."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, side: int, groups: int = 1) -> None:
        super().__init__()
        out, within, kernel, _ = weight.shape
        self.side = -(-side // stride)  # of the output
        missing = max((self.side - 1) * stride + kernel - side, 0)
        before, after = missing // 2, missing - missing // 2
        self.uneven_padding = (before, after, before, after) if before != after else None
        padding = 0 if self.uneven_padding else before
        self.conv = nn.Conv2d(within * groups, out, kernel, stride, padding, groups=groups)
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        """Convolve: [B,C,h,w] -> [B,C',h/stride,w/stride]."""
        convolved: Tensor = self.conv(images if self.uneven_padding is None else F.pad(images, self.uneven_padding))
        return convolved


@dataclass(frozen=True)
class ChannelStats:
    """Mean and variance of each channel, [C], as the parameters of a BatchNorm give them for its output."""

    mean: Tensor
    variance: Tensor

    def __add__(self, other: "ChannelStats") -> "ChannelStats":
        return ChannelStats(self.mean + other.mean, self.variance + other.variance)

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value to expect in any channel, with 0 between them."""
        margin = RANGE_IN_STDS * self.variance.sqrt()  # [C]
        return min(0.0, float((self.mean - margin).min())), max(0.0, float((self.mean + margin).max()))


class InvertedBottleneck(nn.Module):
    """An inverted bottleneck: 1x1 expansion (not in the first block), depthwise filters, 1x1 projection.

    The input is added to the output where their shapes agree. `input_stats` are those of the input's channels;
    `projection_range` and `output_range` are the values to expect before and after that addition.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], prefix: str, stride: int, side: int, input_stats: ChannelStats
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if f"{prefix}_expand_conv.weight" in tensors:
            layers += [
                SameConv(*fold_batch_norm(tensors, f"{prefix}_expand_conv", f"{prefix}_bn0"), 1, side),
                nn.ReLU6(True),
            ]
        weight, bias = fold_batch_norm(tensors, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        filtered = SameConv(weight, bias, stride, side, groups=len(weight))
        self.side = filtered.side
        projected = SameConv(*fold_batch_norm(tensors, f"{prefix}_project_conv", f"{prefix}_bn2"), 1, self.side)
        self.layers = nn.Sequential(*layers, filtered, nn.ReLU6(True), projected)
        first = layers[0] if layers else filtered
        assert isinstance(first, SameConv)  # noqa: S101
        self.residual = stride == 1 and first.conv.in_channels == projected.conv.out_channels
        projection_stats = ChannelStats(tensors[f"{prefix}_bn2.bias"], tensors[f"{prefix}_bn2.weight"].square())
        self.output_stats = projection_stats + input_stats if self.residual else projection_stats
        self.projection_range, self.output_range = projection_stats.value_range, self.output_stats.value_range

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block: [B,C,h,w] -> [B,C',h/stride,w/stride]."""
        out: Tensor = self.layers(images)
        return out + images if self.residual else out


def fold_batch_norm(tensors: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Fold a BatchNorm into the convolution before it: the weight [C',C,k,k] and bias [C'] of one convolution."""
    scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    weight = tensors[f"{conv}.weight"] * scale.view(-1, 1, 1, 1)
    return weight, tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale


class LastLayerAndPooling(nn.Module):
    """The network's last layer, followed by three means over positions that are concatenated: [B,C,h,h] -> [B,2C'+C].

    1. The plain mean of the last layer's output, C' numbers, which ImageNet's classifier was trained on.
    2. The mean of the same with more weight in the middle, where the subject is. Positions at the edge also see
       padding.
    3. The mean of the last layer's input with these weights, C numbers, standardised by ImageNet's mean and standard
       deviation of each channel, which the BatchNorm before it holds.
    """

    windows: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, last: nn.Sequential, side: int, input_stats: ChannelStats) -> None:
        super().__init__()
        self.last = last
        squared_distance = (torch.arange(side) - (side - 1) / 2).square()
        gaussian = torch.exp(-(squared_distance.unsqueeze(1) + squared_distance) / (2 * (CENTRE_STD * side) ** 2))
        central = gaussian.flatten()  # [h h]
        uniform = torch.full_like(central, 1 / len(central))
        self.register_buffer("windows", torch.stack([uniform, central / central.sum()], dim=1))  # [h h, 2]
        self.register_buffer("mean", input_stats.mean)  # [C]
        self.register_buffer("deviation", input_stats.variance.sqrt())  # [C]

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the last layer and pool: [B,C,h,h] -> [B,2C'+C]."""
        outputs = self.last(maps).flatten(2) @ self.windows  # [B, C', 2]
        inputs = maps.flatten(2) @ self.windows[:, 1]  # [B, C]
        return torch.cat([outputs[..., 0], outputs[..., 1], (inputs - self.mean) / self.deviation], dim=-1)


def efficientnet_lite(tensors: Mapping[str, Tensor], resolution: int, depth: float) -> nn.Sequential:
    """Build a network for images of side `resolution`: normalised [B,3,R,R] -> the means of `LastLayerAndPooling`.

    `depth` multiplies the repeats of the middle stages. Raises `KeyError` for a missing tensor.
    """
    stem = SameConv(*fold_batch_norm(tensors, "_conv_stem", "_bn0"), 2, resolution)
    layers: list[nn.Module] = [stem, nn.ReLU6(True)]
    side, index = stem.side, 0
    stats = ChannelStats(tensors["_bn0.bias"], tensors["_bn0.weight"].square())
    for stage, (stride, repeats) in enumerate(STAGES):
        middle = 0 < stage < len(STAGES) - 1
        for repeat in range(math.ceil(repeats * depth) if middle else repeats):
            block = InvertedBottleneck(tensors, f"_blocks.{index}.", stride if repeat == 0 else 1, side, stats)
            layers.append(block)
            side, index, stats = block.side, index + 1, block.output_stats
    last = nn.Sequential(SameConv(*fold_batch_norm(tensors, "_conv_head", "_bn1"), 1, side), nn.ReLU6(True))
    return nn.Sequential(*layers, LastLayerAndPooling(last, side, stats))
