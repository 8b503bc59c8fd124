"""The convolution blocks of phi, and folding their BatchNorm into the convolutions for inference."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.backbones.efficientnet import RANGE_IN_STDS
from model.config import GROUPS, LEOConfig


class ConvBlocks(nn.Sequential):
    """phi's blocks of Conv 3x3, BatchNorm, MaxPool 2 and ReLU, then flatten: [B,1,R,R] -> [B,F].

    The config's `normalisation`, `pooling`, `pool_whole` and `residual` replace parts of a block. Max-pooling comes
    before the ReLU: the result is the same, and the ReLU has a quarter of the pixels left.
    """

    def __init__(self, config: LEOConfig) -> None:
        layers: list[nn.Module] = []
        width_in = 1
        for number, width in enumerate(config.widths, start=1):
            layers += convolution(config, width_in, width)
            whole = config.pool_whole and number == len(config.widths)
            if config.pooling == "max":
                layers += [nn.AdaptiveMaxPool2d(1) if whole else nn.MaxPool2d(2), nn.ReLU(inplace=True)]
            else:
                layers += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1) if whole else nn.AvgPool2d(2)]
            if config.residual and not whole:  # after pooling the whole map one pixel is left
                layers.append(Residual(convolution(config, width, width)))
            width_in = width
        super().__init__(*layers, nn.Flatten())

    def folded(self) -> nn.Sequential:
        """Make the same function for inference, each BatchNorm folded into the convolution before it."""
        return nn.Sequential(*fold_layers(self))


class Residual(nn.Module):
    """A residual branch: ReLU(x + layers(x))."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.layers(maps))


def convolution(config: LEOConfig, width_in: int, width: int) -> list[nn.Module]:
    """A 3x3 convolution that keeps the side of its input, followed by the config's normalisation."""
    bias = config.normalisation == "none"  # a normalisation brings its own
    layers: list[nn.Module] = [nn.Conv2d(width_in, width, 3, padding=1, bias=bias)]
    if config.normalisation == "batch":
        layers.append(nn.BatchNorm2d(width))
    elif config.normalisation == "group":
        layers.append(nn.GroupNorm(GROUPS, width))
    return layers


def fold_layers(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Fold each BatchNorm into the convolution before it, for inference.

    A folded convolution gets a buffer `activation_max`, the highest output to expect by its BatchNorm's statistics.
    Quantisation needs it.
    """
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
            activation_max = (layer.bias + RANGE_IN_STDS * layer.weight.abs()).max().detach()
            folded[-1].register_buffer("activation_max", activation_max, persistent=False)
        elif isinstance(layer, Residual):
            folded.append(Residual(fold_layers(layer.layers)))
        else:
            folded.append(layer)
    return folded
