"""The feature extractor phi: convolution blocks or a frozen pretrained backbone, then selection and normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.backbones import Backbone, BackboneError
from model.config import LEOConfig
from model.networks.conv_blocks import ConvBlocks


class FeatureExtractor(nn.Module):
    """phi, from images to features: [B,1,R,R] or [B,3,R,R] -> [B,F], of length 1 where the config normalises them.

    At inference features are averaged over copies of the image rotated by the config's `view_angles`, if it has any.
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
        self.joined = pretrained is not None and pretrained.joined
        if self.joined:
            # The weight of each part, which all are scaled to length 1. Training learns them.
            self.part_weights = nn.Parameter(torch.tensor([part.weight**0.5 for part in self.parts]))
        # Features after a ReLU are all positive, so their cosines are all high. Subtracting their mean spreads the
        # cosines. Pre-training sets it to the mean that it measured; then it is learned.
        self.centre = nn.Parameter(torch.zeros(config.feature_dim), requires_grad=config.normalise_features)
        self.register_buffer("views", rotation_grids(config.view_angles, config.resolution), persistent=False)

    def fold_batch_norm(self) -> None:
        """Fold BatchNorm into the convolutions, for faster inference. Raises `RuntimeError` in training mode."""
        if self.training:
            raise RuntimeError("fold_batch_norm would freeze the statistics that training updates; call eval() first")
        if isinstance(self.blocks, ConvBlocks):
            self.blocks = self.blocks.folded()

    def forward(self, images: Tensor) -> Tensor:
        """Extract features: images [B,1,R,R], ink 1 on paper 0, or [B,3,R,R] in 0..1 -> [B,F]."""
        views = len(self.views)
        if self.training or views == 0:
            return self._of_one_view(images)
        rotated = images.repeat(views, 1, 1, 1)  # [V B, 1, R, R]
        grids = self.views.to(images.dtype).repeat_interleave(len(images), dim=0)  # [V B, R, R, 2]
        rotated = F.grid_sample(rotated, grids, align_corners=False)
        mean = self._of_one_view(rotated).unflatten(0, (views, -1)).mean(dim=0)  # [B, F]
        return F.normalize(mean, dim=-1) if self.normalise else mean

    def _of_one_view(self, images: Tensor) -> Tensor:
        return self.postprocess(self.blocks(images).to(images.dtype))  # [B, F]; autocast leaves them in bf16

    def postprocess(self, outputs: Tensor) -> Tensor:
        """Select and normalise features: outputs of blocks [...,F] or of a pretrained backbone [...,W] -> [...,F]."""
        features = self.select_parts(outputs)
        if not self.normalise:
            return features
        features = features - self.centre
        if self.joined:
            parts = features.split([part.width for part in self.parts], dim=-1)
            weighted = zip(self.part_weights, parts, strict=True)
            features = torch.cat([weight * F.normalize(part, dim=-1) for weight, part in weighted], dim=-1)
        return F.normalize(features, dim=-1)

    def select_parts(self, outputs: Tensor) -> Tensor:
        """Select the config's parts of a backbone's outputs, before centring: [...,W] -> [...,F].

        The parts of one backbone are weighted here. Those of joined backbones are weighted after they are centred.
        """
        if not self.parts:
            return outputs
        parts = [outputs[..., part.first : part.first + part.width] for part in self.parts]
        if self.power != 1:
            # Tukey's ladder of powers, because most features are small and few large (Yang et al., 2021).
            parts = [part.sign() * part.abs().pow(self.power) for part in parts]
        if len(parts) > 1 and self.normalise and not self.joined:
            weights = [part.weight**0.5 for part in self.parts]
            parts = [weight * F.normalize(part, dim=-1) for weight, part in zip(weights, parts, strict=True)]
        return torch.cat(parts, dim=-1)


def rotation_grids(degrees: Sequence[float], resolution: int) -> Tensor:
    """Sampling grids that rotate an image by each angle: [V,R,R,2] in -1..1, for `grid_sample`."""
    if not degrees:
        return torch.empty(0, resolution, resolution, 2)
    angles = torch.tensor(degrees, dtype=torch.get_default_dtype()).deg2rad()
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    theta = torch.stack([torch.stack([cos, -sin, zero], dim=-1), torch.stack([sin, cos, zero], dim=-1)], dim=1)
    return F.affine_grid(theta, [len(angles), 1, resolution, resolution], align_corners=False)  # [V, R, R, 2]


class FrozenBackbone(nn.Module):
    """A frozen pretrained backbone: images in 0..1, [B,3,R,R] -> [B,W]. It stays in `eval` mode in training too.

    Raises `BackboneError` where its weights are missing or, if `sha256` is given, have another hash.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, sha256: str = "") -> None:
        super().__init__()
        loaded = backbone.load()
        if sha256 and loaded.sha256 != sha256:
            raise BackboneError(
                f"the installed weights of {backbone.name} are not those that this model was trained with: "
                f"their SHA-256 is {loaded.sha256[:12]}..., not {sha256[:12]}...; install those"
            )
        self.network = loaded.network.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Set the mode of this module, but keep the network in `eval` mode."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((images - self.mean) / self.std)
        return features
