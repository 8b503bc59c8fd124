"""Views of photos: in a mirror, and crops. A task's support is seen in them too."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CENTRE_AREA = 0.6  # of the crop of a photo's middle
LEAST_AREA = 0.5  # of other crops


class View(NamedTuple):
    """Which square of a photo a view shows, in pixels, and whether in a mirror."""

    top: int
    left: int
    side: int
    mirrored: bool


class PhotoViews(nn.Module):
    """Makes V - 1 views of each photo, beside the photo as it is. They are the same for every photo.

    So a support always makes the same task, in any order of its photos. The first is the photo in a mirror, the second
    its middle, and the others are crops anywhere, every second one in a mirror.
    """

    def __init__(self, views: int, side: int) -> None:
        """Choose all but the first of so many `views`, of photos of `side` pixels (R)."""
        super().__init__()
        self.copies = views - 1
        random = np.random.default_rng(0)
        whole, middle = View(0, 0, side, mirrored=True), _crop(side, CENTRE_AREA, (0.5, 0.5), mirrored=False)
        others = [
            _crop(side, random.uniform(LEAST_AREA, 1), (random.uniform(), random.uniform()), mirrored=place % 2 == 0)
            for place in range(self.copies - 2)
        ]
        self.views = [whole, middle, *others][: self.copies]

    def forward(self, images: Tensor) -> Tensor:
        """Make the views of images [B,3,R,R] in 0..1 -> [B copies,3,R,R], an image's views one after the other."""
        if not self.copies or not len(images):
            return images[:0]
        return torch.stack([_seen(images, view).clamp(0, 1) for view in self.views], dim=1).flatten(0, 1)

    def of_bytes(self, photos: Tensor) -> Tensor:
        """Make the views of photos: uint8 [B,R,R,3] -> uint8 [B copies,R,R,3]."""
        if not self.copies or not len(photos):
            return photos[:0]
        images = photos.movedim(3, 1)  # [B, 3, R, R]
        if images.device.type != "cpu":
            images = images.float()  # a CPU resizes bytes many times as fast, a GPU cannot
        views = [_seen(images, view).round().clamp(0, 255).to(torch.uint8) for view in self.views]
        return torch.stack(views, dim=1).flatten(0, 1).movedim(1, 3)

    def join(self, features: Tensor, of_copies: Tensor) -> Tensor:
        """Put the features of each photo's views [B copies,F] behind its own [B,F] -> [B,V,F]; no copies: [B,F]."""
        if not self.copies:
            return features
        return torch.cat([features.unsqueeze(1), of_copies.unflatten(0, (len(features), self.copies))], dim=1)


def _crop(side: int, area: float, place: tuple[float, float], *, mirrored: bool) -> View:
    """A square of a share of a photo's area; where in the room there is, from 0 (top or left) to 1."""
    part = round(side * area**0.5)
    top, left = (int(share * (side - part)) for share in place)
    return View(top, left, part, mirrored)


def _seen(images: Tensor, view: View) -> Tensor:
    """One view of images [B,3,R,R], floats not yet clamped."""
    part = images[..., view.top : view.top + view.side, view.left : view.left + view.side]
    shown = F.interpolate(part, size=images.shape[-2:], mode="bicubic", antialias=True)
    return shown.flip(-1) if view.mirrored else shown
