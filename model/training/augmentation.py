"""Augmentation of drawings: random affine maps, pen widths and elastic bends, in batches on the device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from model.images.drawings import SIDE


def working_side(resolution: int) -> int:
    """Return the side at which drawings are augmented: twice phi's `resolution` if the originals are that large."""
    return 2 * resolution if 2 * resolution <= SIDE else resolution


def augment(images: Tensor, resolution: int, generator: torch.Generator, elastic: float = 0.0) -> Tensor:
    """Augment each image at random and reduce it to phi's input: [B,1,W,W] at the working side -> [B,1,R,R], in 0..1.

    - Pen width: each edge of a stroke moves by up to one pixel of the working side, less when it gets thinner.
    - Affine map: rotation by up to 12 degrees, shear by up to 0.2, scale 0.8 to 1.15 along each axis, shift by up to
      7 % of the side.
    - Elastic bend: a smooth field, interpolated from 4x4 random shifts, moves points by up to `elastic` of the side
      (as in Simard et al., 2003, who smooth a field of one shift for each pixel).
    """
    count, device = images.shape[0], images.device

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(count, generator=generator) * (high - low) + low).to(device)

    # The maximum of a 3x3 window makes the pen wider by a pixel, the minimum thinner. Mixing gives widths in between.
    pen = uniform(-1.0, 1.0).view(-1, 1, 1, 1)
    thicker = F.max_pool2d(images, 3, 1, 1)
    thinner = -F.max_pool2d(-images, 3, 1, 1)
    # Thinning stops half way: a stroke of 2 pixels would vanish.
    images = torch.where(pen > 0, torch.lerp(images, thicker, pen), torch.lerp(images, thinner, -0.5 * pen))

    angle = uniform(-math.pi / 15, math.pi / 15)
    shear = uniform(-0.2, 0.2)
    scale_x, scale_y = uniform(0.8, 1.15), uniform(0.8, 1.15)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(  # maps coordinates of the output to those of the input
        [
            torch.stack([cos / scale_x, (shear * cos - sin) / scale_x, uniform(-0.14, 0.14)], dim=-1),
            torch.stack([sin / scale_y, (shear * sin + cos) / scale_y, uniform(-0.14, 0.14)], dim=-1),
        ],
        dim=1,
    )  # [B, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    if elastic:
        shifts = (
            (torch.rand(count, 2, 4, 4, generator=generator) * 2 - 1) * 2 * elastic
        )  # the grid's coordinates span -1..1
        field = F.interpolate(shifts.to(device), size=images.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)  # [B, W, W, 2]
    bent = F.grid_sample(images, grid, align_corners=False)
    return F.avg_pool2d(bent, images.shape[-1] // resolution)
