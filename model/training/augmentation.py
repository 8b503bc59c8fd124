"""Drawings made different, as another hand or another pen would make them; on the device, in batches."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from model.images.drawings import SIDE


def working_side(resolution: int) -> int:
    """Side at which drawings are kept and bent: twice phi's input where that still fits."""
    return 2 * resolution if 2 * resolution <= SIDE else resolution


def augment(images: Tensor, resolution: int, generator: torch.Generator, elastic: float = 0.0) -> Tensor:
    """Images [B,1,W,W] in 0..1 at the working side -> [B,1,R,R], each bent and inked at random.

    Affine: turned by up to 12 degrees, sheared, scaled by 0.8 to 1.15 along each axis, shifted by
    up to 7 % of the side. Pen: up to one pixel of the working side more or less ink on each edge.
    Elastic: each point moved by up to `elastic` of the side, its neighbours nearly alike, as a hand
    that wanders (Simard et al., 2003, with a smooth field from 4x4 random shifts).
    """
    count, device = images.shape[0], images.device

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(count, generator=generator) * (high - low) + low).to(device)

    # Grown and shrunk by a 3x3 window, mixed by a random amount: a pen of any width between.
    pen = uniform(-1.0, 1.0).view(-1, 1, 1, 1)
    thicker = F.max_pool2d(images, 3, 1, 1)
    thinner = -F.max_pool2d(-images, 3, 1, 1)
    # A stroke of 2 pixels would vanish, so thinning stops half way.
    images = torch.where(pen > 0, torch.lerp(images, thicker, pen), torch.lerp(images, thinner, -0.5 * pen))

    angle = uniform(-math.pi / 15, math.pi / 15)
    shear = uniform(-0.2, 0.2)
    scale_x, scale_y = uniform(0.8, 1.15), uniform(0.8, 1.15)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(  # output -> input coordinates
        [
            torch.stack([cos / scale_x, (shear * cos - sin) / scale_x, uniform(-0.14, 0.14)], dim=-1),
            torch.stack([sin / scale_y, (shear * sin + cos) / scale_y, uniform(-0.14, 0.14)], dim=-1),
        ],
        dim=1,
    )  # [B, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    if elastic:
        shifts = (torch.rand(count, 2, 4, 4, generator=generator) * 2 - 1) * 2 * elastic  # the grid spans -1..1
        field = F.interpolate(shifts.to(device), size=images.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)  # [B, W, W, 2]
    bent = F.grid_sample(images, grid, align_corners=False)
    return F.avg_pool2d(bent, images.shape[-1] // resolution)
