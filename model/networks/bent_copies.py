"""Bent copies of drawings, as another hand would draw them. A task's support is seen through them too."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LEOConfig

# The largest bends. Those of `model.training.augmentation.augment` are as large.
ROTATION, SHEAR, SCALE = math.pi / 15, 0.2, 0.18
SHIFT, ELASTIC = 0.07, 0.02  # shares of the side
ANCHORS = 4  # an elastic bend is interpolated from so many shifts along each side


class BentCopies(nn.Module):
    """Makes `support_views` - 1 bent copies of each drawing. The bends are the same for every drawing.

    So a support always makes the same task, in any order of its drawings.
    """

    grid: Tensor

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.copies = config.support_views - 1
        grid = bends(self.copies, config.resolution).flatten(0, 1)  # [copies R, R, 2]
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Bend images [B,1,R,R] in 0..1 -> [B copies,1,R,R], an image's copies one after the other."""
        if not self.copies or not len(images):
            return images[:0]
        grid = self.grid.expand(len(images), -1, -1, -1)
        # Bilinear interpolation would blur strokes, which are about two pixels wide.
        bent: Tensor = F.grid_sample(images, grid, mode="bicubic", align_corners=False)  # [B, 1, copies R, R]
        return bent.clamp(0, 1).reshape(-1, 1, *images.shape[-2:])

    def of_bytes(self, drawings: Tensor) -> Tensor:
        """Bend drawings of 255 full ink: numbers in 0..255, [B,R,R] -> uint8 [B copies,R,R]."""
        if not self.copies or not len(drawings):
            return drawings[:0]
        bent: Tensor = self(drawings.unsqueeze(1).float() / 255)
        return (bent * 255).round().to(torch.uint8).squeeze(1)

    def join(self, features: Tensor, of_copies: Tensor) -> Tensor:
        """Average each image's features [B,F] with those of its copies [B copies,F] -> [B,F]."""
        if not self.copies:
            return features
        copies: Tensor = of_copies.unflatten(0, (len(features), self.copies))  # [B, copies, F]
        return (features + copies.sum(dim=1)) / (1 + self.copies)


def bends(number: int, resolution: int) -> Tensor:
    """Make the sampling grids of the first bends: [number,R,R,2] in -1..1, for `grid_sample`.

    Every second bend is the opposite of the one before it, so that the copies lie evenly around the drawing.
    """
    random = np.random.RandomState(0)
    maps, fields = [], []
    for _ in range(0, number, 2):
        amounts, field = random.uniform(-1, 1, 6), random.uniform(-1, 1, (2, ANCHORS, ANCHORS))
        for sign in (1, -1):
            maps.append(_affine_map(*(sign * amounts)))
            fields.append(sign * field)
    if not number:
        return torch.empty(0, resolution, resolution, 2)
    theta, shifts = (torch.tensor(np.stack(parts)[:number], dtype=torch.float32) for parts in (maps, fields))
    grid = F.affine_grid(theta, [number, 1, resolution, resolution], align_corners=False)
    # Coordinates span -1..1, so a share of the side is twice as much of them.
    bend = F.interpolate(2 * ELASTIC * shifts, size=(resolution, resolution), mode="bicubic", align_corners=True)
    return grid + bend.permute(0, 2, 3, 1)


def _affine_map(
    rotation: float, shear: float, wider: float, taller: float, right: float, down: float
) -> list[list[float]]:
    """Map a copy's coordinates to the drawing's, by amounts in -1..1 of the largest bends."""
    cos, sin = math.cos(ROTATION * rotation), math.sin(ROTATION * rotation)
    scale_x, scale_y = math.exp(SCALE * wider), math.exp(SCALE * taller)
    return [
        [cos / scale_x, (SHEAR * shear * cos - sin) / scale_x, 2 * SHIFT * right],
        [sin / scale_y, (SHEAR * shear * sin + cos) / scale_y, 2 * SHIFT * down],
    ]
