"""EfficientNet-Lite (Tan and Le, 2019; the Lite variants have no squeeze-and-excite and ReLU6), frozen.

Built from the file of weights itself: widths, kernels and expansions are the tensors' shapes, and each
BatchNorm is folded into its convolution on the way in. Only strides and repeats are not in there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPSILON = 1e-3
CENTRED = 2 / 7  # of the map's side: how far from its middle a position's weight in the second mean has fallen to 0.6
REACH = 6.0  # standard deviations to either side of a mean that a channel's values are expected in
#: Stride and repeats of each stage of Lite0; deeper variants repeat all but the first and last more often.
STAGES = ((1, 1), (2, 2), (2, 2), (2, 3), (1, 3), (2, 4), (1, 1))


class SameConv(nn.Module):
    """A convolution padded as TensorFlow's "same": where the padding is odd, the larger half is below and right."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, side: int, groups: int = 1) -> None:
        super().__init__()
        out, within, kernel, _ = weight.shape
        self.side = -(-side // stride)  # of what comes out
        missing = max((self.side - 1) * stride + kernel - side, 0)
        before, after = missing // 2, missing - missing // 2
        self.uneven = (before, after, before, after) if before != after else None
        padding = 0 if self.uneven else before
        self.conv = nn.Conv2d(within * groups, out, kernel, stride, padding, groups=groups)
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C',h/stride,w/stride]."""
        convolved: Tensor = self.conv(images if self.uneven is None else F.pad(images, self.uneven))
        return convolved


@dataclass(frozen=True)
class Spread:
    """What a BatchNorm says of its output: mean and variance of each channel, [C]."""

    mean: Tensor
    variance: Tensor

    def __add__(self, other: "Spread") -> "Spread":
        return Spread(self.mean + other.mean, self.variance + other.variance)

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest value to expect in any channel."""
        reach = REACH * self.variance.sqrt()
        return min(0.0, float((self.mean - reach).min())), max(0.0, float((self.mean + reach).max()))


class InvertedBottleneck(nn.Module):
    """Expand by 1x1 (not in the first block), filter each channel alone, project by 1x1; added to what came in
    where the shapes allow it."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, stride: int, side: int, before: "Spread") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if f"{prefix}_expand_conv.weight" in tensors:
            layers += [SameConv(*folded(tensors, f"{prefix}_expand_conv", f"{prefix}_bn0"), 1, side), nn.ReLU6(True)]
        weight, bias = folded(tensors, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        filtered = SameConv(weight, bias, stride, side, groups=len(weight))
        self.side = filtered.side
        projected = SameConv(*folded(tensors, f"{prefix}_project_conv", f"{prefix}_bn2"), 1, self.side)
        self.layers = nn.Sequential(*layers, filtered, nn.ReLU6(True), projected)
        first = layers[0] if layers else filtered
        assert isinstance(first, SameConv)  # noqa: S101
        self.residual = stride == 1 and first.conv.in_channels == projected.conv.out_channels
        # What comes out of the projection and, where something is added, out of the block, [C'] each.
        own = Spread(tensors[f"{prefix}_bn2.bias"], tensors[f"{prefix}_bn2.weight"].square())
        self.spread = own + before if self.residual else own
        self.projected, self.given = own.span, self.spread.span

    def forward(self, images: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C',h/stride,w/stride]."""
        out: Tensor = self.layers(images)
        return out + images if self.residual else out


def folded(tensors: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the BatchNorm behind it folded in."""
    scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    weight = tensors[f"{conv}.weight"] * scale.view(-1, 1, 1, 1)
    return weight, tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale


class Pooled(nn.Module):
    """The network's last layer and three means over positions, one behind the other, [B,C,h,h] -> [B,2C'+C].

    Of what the last layer gives [B,C',h,h], as its classifier was trained on. Of the same, the middle counting most:
    there the subject is, and positions at the edge see padding beside it. And of what the last layer takes, likewise,
    each channel as far from its mean on ImageNet, in standard deviations, as its BatchNorm says.
    """

    windows: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, last: nn.Sequential, side: int, taken: Spread) -> None:
        super().__init__()
        self.last = last
        away = (torch.arange(side) - (side - 1) / 2).square()
        middle = torch.exp(-(away.unsqueeze(1) + away) / (2 * (CENTRED * side) ** 2)).flatten()  # [h h]
        even = torch.full_like(middle, 1 / len(middle))
        self.register_buffer("windows", torch.stack([even, middle / middle.sum()], dim=1))  # [h h, 2]
        self.register_buffer("mean", taken.mean)  # [C]
        self.register_buffer("deviation", taken.variance.sqrt())  # [C]

    def forward(self, taken: Tensor) -> Tensor:
        """[B,C,h,h] -> [B,2C'+C]."""
        given = self.last(taken).flatten(2) @ self.windows  # [B, C', 2]
        before = taken.flatten(2) @ self.windows[:, 1]  # [B, C]
        return torch.cat([given[..., 0], given[..., 1], (before - self.mean) / self.deviation], dim=-1)


def efficientnet_lite(tensors: Mapping[str, Tensor], resolution: int, depth: float) -> nn.Sequential:
    """Normalised images [B,3,R,R] -> what `Pooled` gives. Raises `KeyError` for a tensor that is not there."""
    stem = SameConv(*folded(tensors, "_conv_stem", "_bn0"), 2, resolution)
    layers: list[nn.Module] = [stem, nn.ReLU6(True)]
    side, index = stem.side, 0
    spread = Spread(tensors["_bn0.bias"], tensors["_bn0.weight"].square())
    for stage, (stride, repeats) in enumerate(STAGES):
        middle = 0 < stage < len(STAGES) - 1
        for repeat in range(math.ceil(repeats * depth) if middle else repeats):
            block = InvertedBottleneck(tensors, f"_blocks.{index}.", stride if repeat == 0 else 1, side, spread)
            layers.append(block)
            side, index, spread = block.side, index + 1, block.spread
    last = nn.Sequential(SameConv(*folded(tensors, "_conv_head", "_bn1"), 1, side), nn.ReLU6(True))
    return nn.Sequential(*layers, Pooled(last, side, spread))
