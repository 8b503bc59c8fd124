"""The convolution blocks of phi, and their form for inference."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.backbones.efficientnet import REACH
from model.config import GROUPS, LEOConfig


class ConvBlocks(nn.Sequential):
    """Blocks of Conv 3x3, BatchNorm, ReLU, MaxPool 2, then flatten: [B,1,R,R] -> [B,F].

    What the config's `normalisation`, `pooling`, `pool_whole` and `residual` say goes in their places.
    Max-pooling goes before the ReLU: the maximum commutes with it, and a quarter is left to rectify.
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
            if config.residual and not whole:  # over a single pixel there is nothing to convolve
                layers.append(Residual(convolution(config, width, width)))
            width_in = width
        super().__init__(*layers, nn.Flatten())

    def folded(self) -> nn.Sequential:
        """The same function for inference, each BatchNorm folded into the convolution before it."""
        return nn.Sequential(*fold(self))


class Residual(nn.Module):
    """Adds to its input what some layers make of it, and rectifies the sum."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.layers(maps))


def convolution(config: LEOConfig, width_in: int, width: int) -> list[nn.Module]:
    """A 3x3 convolution that keeps the side of its input, followed by the config's normalisation."""
    bare = config.normalisation == "none"
    made: list[nn.Module] = [nn.Conv2d(width_in, width, 3, padding=1, bias=bare)]
    if config.normalisation == "batch":
        made.append(nn.BatchNorm2d(width))
    elif config.normalisation == "group":
        made.append(nn.GroupNorm(GROUPS, width))
    return made


def fold(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The same layers for inference, each BatchNorm folded into the convolution before it."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
            reach = (layer.bias + REACH * layer.weight.abs()).max().detach()  # above which hardly anything comes out
            folded[-1].register_buffer("reach", reach, persistent=False)
        elif isinstance(layer, Residual):
            folded.append(Residual(fold(layer.layers)))
        else:
            folded.append(layer)
    return folded
