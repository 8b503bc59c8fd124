"""Pictures are shrunk as Pillow's thumbnails are, without a copy of all their pixels."""

import numpy as np
import pytest
from PIL import Image

from model.images.drawings import grey
from model.images.shrinking import shrunk


@pytest.mark.parametrize(
    "size", [(401, 7), (7, 401), (1203, 801), (801, 1203), (5000, 3), (3, 5000), (999, 999), (50, 9)]
)
@pytest.mark.parametrize("side", [400, 32])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_the_pixels_are_those_of_a_thumbnail(size: tuple[int, int], side: int, mode: str) -> None:
    shape = (size[1], size[0], 4)[: 2 if mode == "L" else 3]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    thumbnail = picture.copy()
    thumbnail.thumbnail((side, side), Image.Resampling.BOX)
    small = shrunk(picture, side, Image.Resampling.BOX)
    assert small.size == thumbnail.size
    assert small.tobytes() == thumbnail.tobytes()


def test_a_large_drawing_is_not_copied() -> None:
    picture = Image.new("L", (6000, 6000), 255)
    Image.core.reset_stats()
    grey(picture)
    stats = Image.core.get_stats()
    blocks = stats["allocated_blocks"] + stats["reused_blocks"]
    assert blocks * 16 * 2**20 < 2 * picture.width * picture.height, stats  # Pillow's blocks have 16 MB
