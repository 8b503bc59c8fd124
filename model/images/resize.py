"""Resizes batches of canonical drawings to the input of phi."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.images.drawings import SIDE


def to_side(drawings: Tensor, side: int) -> Tensor:
    """Resize canonical drawings [...,105,105] bool -> [...,side,side] uint8, 255 full ink, by averaging areas."""
    if side == SIDE:
        return drawings.to(torch.uint8) * 255
    flat = drawings.reshape(-1, 1, *drawings.shape[-2:])
    chunks = [F.interpolate(part.float(), size=(side, side), mode="area") for part in flat.split(4096)]
    small = torch.cat([(chunk * 255).round().to(torch.uint8) for chunk in chunks])
    return small.reshape(*drawings.shape[:-2], side, side)
