"""The networks of LEO. Every one works on T tasks at once; shapes are beside the lines."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.backbones import Backbone, BackboneError
from model.config import LEOConfig
from model.networks.conv_blocks import ConvBlocks


class FeatureExtractor(nn.Module):
    """phi: drawings -> features, [B,1,R,R] -> [B,F], of length 1 if the config normalises them.

    At inference the mean over the config's `view_angles`, if it names any: what one view of a
    drawing it has never seen the like of gets wrong, another gets right.
    """

    views: Tensor

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.normalise, self.power = config.normalise_features, config.feature_power
        pretrained = config.pretrained
        self.parts = () if pretrained is None else pretrained.parts[config.backbone_pooling]
        self.blocks: nn.Module = (
            ConvBlocks(config) if pretrained is None else FrozenBackbone(pretrained, config.backbone_sha256)
        )
        # Features after a ReLU all point into the same corner; taking out their mean spreads the
        # cosines. Learned from there on; supervised pre-training sets it to the mean it measured.
        self.centre = nn.Parameter(torch.zeros(config.feature_dim), requires_grad=config.normalise_features)
        self.register_buffer("views", rotation_grids(config.view_angles, config.resolution), persistent=False)

    def fold_batch_norm(self) -> None:
        """For inference only: the same features in fewer passes over memory. Raises `RuntimeError` in training."""
        if self.training:
            raise RuntimeError("fold_batch_norm would freeze the statistics that training updates; call eval() first")
        if isinstance(self.blocks, ConvBlocks):
            self.blocks = self.blocks.folded()

    def forward(self, images: Tensor) -> Tensor:
        views = len(self.views)
        if self.training or views == 0:
            return self._of_one_view(images)
        seen = images.repeat(views, 1, 1, 1)  # [V B, 1, R, R]
        grids = self.views.to(images.dtype).repeat_interleave(len(images), dim=0)  # [V B, R, R, 2]
        seen = F.grid_sample(seen, grids, align_corners=False)
        mean = self._of_one_view(seen).unflatten(0, (views, -1)).mean(dim=0)  # [B, F]
        return F.normalize(mean, dim=-1) if self.normalise else mean

    def _of_one_view(self, images: Tensor) -> Tensor:
        return self.finished(self.blocks(images).to(images.dtype))  # [B, F]; out of bf16 under autocast

    def finished(self, features: Tensor) -> Tensor:
        """What the blocks give, normalised as the config says: [...,F], of a pretrained backbone [...,W] -> [...,F]."""
        chosen = self.chosen(features)
        return F.normalize(chosen - self.centre, dim=-1) if self.normalise else chosen

    def chosen(self, features: Tensor) -> Tensor:
        """Of all that a pretrained backbone gives, [...,W], what the config wants, not yet centred: [...,F]."""
        if not self.parts:
            return features
        chosen = [features[..., part.first : part.first + part.width] for part in self.parts]
        if self.power != 1:  # Tukey's ladder, for features that are many small and few large (Yang et al., 2021)
            chosen = [part.sign() * part.abs().pow(self.power) for part in chosen]
        if len(chosen) > 1 and self.normalise:
            weights = [part.weight**0.5 for part in self.parts]
            chosen = [weight * F.normalize(part, dim=-1) for weight, part in zip(weights, chosen, strict=True)]
        return torch.cat(chosen, dim=-1)


def rotation_grids(degrees: Sequence[float], resolution: int) -> Tensor:
    """Where to look for each pixel of an image turned by so much: [V,R,R,2] in -1..1, for `grid_sample`."""
    if not degrees:
        return torch.empty(0, resolution, resolution, 2)
    angles = torch.tensor(degrees, dtype=torch.get_default_dtype()).deg2rad()
    cos, sin, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
    theta = torch.stack([torch.stack([cos, -sin, none], dim=-1), torch.stack([sin, cos, none], dim=-1)], dim=1)
    return F.affine_grid(theta, [len(angles), 1, resolution, resolution], align_corners=False)  # [V, R, R, 2]


class FrozenBackbone(nn.Module):
    """A pretrained backbone: images in 0..1, [B,3,R,R] -> [B,F]. Never trained, so always as at inference.

    Raises `BackboneError` where its weights are not there, or not those that `sha256` names.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, sha256: str = "") -> None:
        super().__init__()
        loaded = backbone.load()
        if sha256 and loaded.sha256 != sha256:
            raise BackboneError(
                f"{backbone.name}'s weights are others than this model was trained on: "
                f"their SHA-256 is {loaded.sha256[:12]}..., not {sha256[:12]}..."
            )
        self.network = loaded.network.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """As every module's, but the network keeps to its stored statistics."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((images - self.mean) / self.std)
        return features
