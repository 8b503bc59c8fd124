"""Tests of the small copies of pictures that a task keeps."""

import io

import pytest
from PIL import Image

from model.images import files
from model.images.small_copy import SmallCopies
from tests.helpers.photographed import jpeg, product

COPIES = SmallCopies(24 * 2**10)


@pytest.mark.parametrize(("size", "decoded"), [((1600, 1200), (800, 600)), ((1200, 1600), (600, 800))])
def test_a_large_jpeg_is_decoded_at_the_fraction_that_its_longer_side_allows(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(jpeg(product("lime", 0, size)))) as picture:
        COPIES.draft(picture)
        assert picture.size == decoded


@pytest.mark.parametrize("size", [(1600, 1200), (2000, 40), (300, 200)])
def test_a_copy_has_the_shape_of_its_picture(size: tuple[int, int]) -> None:
    copy = files.read(jpeg(product("lime", 0, (400, 300)).resize(size)), COPIES, draft=COPIES.draft)
    assert copy is not None
    with Image.open(io.BytesIO(copy)) as picture:
        assert max(picture.size) == min(384, max(size))
        assert picture.width / picture.height == pytest.approx(size[0] / size[1], rel=0.1)
