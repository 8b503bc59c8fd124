"""Several backbones as one: `NAME+NAME`, all outputs side by side."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, Part, Pooling


class Normalised(nn.Module):
    """A network behind its own normalisation: images in 0..1, [B,3,R,R] -> [B,W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and compute."""
        outputs: Tensor = self.network((images - self.mean) / self.std)
        return outputs


class SideBySide(nn.Module):
    """Several networks on the same images: [B,3,R,R] -> the outputs of all, concatenated, [B,W]."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Compute each and concatenate."""
        return torch.cat([network(images) for network in self.networks], dim=-1)


def join(backbones: Sequence[Backbone]) -> Backbone:
    """Describe backbones side by side. Raises `BackboneError` where they take images of different sides."""
    name = "+".join(each.name for each in backbones)
    sides = {each.resolution for each in backbones}
    if len(sides) > 1:
        raise BackboneError(
            f"{name}: backbones that are joined take images of one size, but these take "
            f"{', '.join(f'{each.name} {each.resolution}' for each in backbones)} pixels; choose others"
        )
    parts: dict[Pooling, tuple[Part, ...]] = {"mean": (), "centre": (), "all": ()}
    first = 0
    for each in backbones:
        choices: dict[Pooling, Pooling] = {"mean": "mean", "centre": each.best_pooling, "all": "all"}
        for pooling, own in choices.items():
            parts[pooling] += tuple(Part(first + part.first, part.width, part.weight) for part in each.parts[own])
        first += each.width("all")

    def load() -> LoadedBackbone:
        loaded = [each.load() for each in backbones]
        networks = [
            Normalised(with_weights.network, each.mean, each.std)
            for with_weights, each in zip(loaded, backbones, strict=True)
        ]
        digest = hashlib.sha256("+".join(each.sha256 for each in loaded).encode()).hexdigest()
        return LoadedBackbone(SideBySide(networks), digest)

    return Backbone(name, sides.pop(), parts, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), load, tuple(backbones))
