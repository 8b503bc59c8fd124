"""Tests of the small copies of pictures that a task keeps."""

import io

import numpy as np
import pytest
from PIL import Image

from model.images import files
from model.images.small_copy import SmallCopies
from tests.helpers.drawn import CHARACTERS, canvas
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


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "I;16", "F"])
@pytest.mark.parametrize("seen", [canvas(CHARACTERS["ring"]), product("lime", 0, (400, 300))], ids=["drawing", "photo"])
def test_a_picture_of_any_mode_has_a_copy_that_fits(seen: Image.Image, mode: str) -> None:
    grey = seen.convert("L")
    if mode in ("I", "I;16", "F"):
        kind = {"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]
        given = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257).astype(kind))
    else:
        given = seen.convert(mode)
    copy = COPIES(given)
    assert len(copy) <= COPIES.max_bytes
    with Image.open(io.BytesIO(copy)) as kept:
        small = [np.asarray(each.convert("L").resize((16, 16), Image.Resampling.BOX)) for each in (kept, grey)]
    np.testing.assert_allclose(*(each.astype(int) for each in small), atol=16)


def test_an_alpha_channel_through_which_nothing_shows_makes_no_copy_smaller() -> None:
    seen = product("lime", 0, (900, 700)).effect_spread(12)
    plain, opaque = (Image.open(io.BytesIO(COPIES(each))) for each in (seen, seen.convert("RGBA")))
    assert (opaque.size, opaque.format) == (plain.size, plain.format)
    clear = seen.convert("RGBA")
    clear.putpixel((5, 5), (0, 0, 0, 0))
    with Image.open(io.BytesIO(COPIES(clear))) as kept:
        assert kept.mode == "RGBA"
