"""From photos to the input of a backbone, upright, in sRGB, opaque and cropped."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from model.images.photos import to_pixels
from model.images.profiles import MOST_BYTES, is_readable
from tests.helpers.photographed import jpeg, product
from tests.helpers.profiles import of_elements, of_swapped_colours, png_with, with_tags


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def halves() -> Image.Image:
    """Red above, blue below, in a square."""
    picture = Image.new("RGB", (64, 64), "blue")
    picture.paste("red", (0, 0, 64, 32))
    return picture


@pytest.mark.parametrize("size", [(64, 64), (3000, 4000), (1, 1), (2, 900), (300, 17)])
def test_any_size_becomes_the_square(size: tuple[int, int]) -> None:
    pixels = to_pixels(Image.new("RGB", size, (10, 200, 30)), 32)
    assert pixels.shape == (32, 32, 3)
    assert (np.abs(pixels.astype(int) - (10, 200, 30)) <= 1).all()


def test_the_square_is_the_middle_of_the_picture() -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    assert (to_pixels(wide, 10)[:, 1:-1] == (0, 0, 255)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation: int) -> None:
    upright = Image.new("RGB", (60, 40), "blue")
    upright.paste("red", (10, 0, 30, 20))  # the upper left quarter of the middle square
    undone = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # PIL's transpositions that the tag undoes
    stored = upright
    for method in undone.get(orientation, []):
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = to_pixels(opened(jpeg(stored, exif=exif)), 20)
    assert pixels[:8, :8].mean(axis=(0, 1)) == pytest.approx((254, 0, 0), abs=8)
    assert pixels[12:, 12:].mean(axis=(0, 1)) == pytest.approx((0, 0, 254), abs=8)


def test_colours_are_brought_from_the_profile_to_srgb() -> None:
    # A profile whose numbers mean other colours: Lab's L, a and b stored as such.
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.new("RGB", (16, 16), (120, 120, 120))
    grey.info["icc_profile"] = lab  # of a Lab picture, on an RGB one: does not fit, and is passed over
    assert (to_pixels(grey, 8) == 120).all()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (np.abs(to_pixels(opened(jpeg(grey, icc_profile=srgb)), 8).astype(int) - 120) <= 1).all()
    grey.info["icc_profile"] = b"not a profile"
    assert (to_pixels(grey, 8) == 120).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "I;16", "F"])
def test_any_mode(mode: str) -> None:
    grey = Image.linear_gradient("L").resize((48, 48))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert("RGB").convert(mode) if mode not in ("I", "F") else grey.convert(mode)
    pixels = to_pixels(picture, 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels[-1].mean() > 200 > 60 > pixels[0].mean()


def test_the_transparent_lies_on_white() -> None:
    assert (to_pixels(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), 8) == 255).all()


def test_a_large_jpeg_decodes_at_a_fraction_of_its_size() -> None:
    picture = opened(jpeg(halves().resize((2048, 2048))))
    pixels = to_pixels(picture, 64)
    assert picture.size == (256, 256)
    assert pixels[4].mean(axis=0) == pytest.approx((254, 0, 0), abs=4)


def test_a_large_jpeg_at_a_fraction_of_its_size_looks_like_the_whole() -> None:
    data = jpeg(product("carton", 2, (4000, 3000)))
    whole = opened(data)
    whole.load()  # now it can no longer be decoded at a fraction
    assert np.abs(to_pixels(opened(data), 224).astype(int) - to_pixels(whole, 224)).mean() < 0.5


def test_a_profile_of_a_screen_counts_and_a_list_of_elements_does_not() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    swapped = to_pixels(opened(png_with(of_swapped_colours(), red)), 8)
    assert (swapped[..., 2] > 200).all()
    assert (swapped[..., 0] < 60).all()
    # Each element takes 14 ms: this profile, of 45 bytes in the PNG, would take half an hour.
    assert (to_pixels(opened(png_with(of_elements(100_000), red)), 8) == (255, 0, 0)).all()


def test_profiles_that_are_cut_off_or_endless_are_not_read() -> None:
    whole = of_swapped_colours()
    assert is_readable(whole)
    assert not any(map(is_readable, (b"", whole[:131], whole[:140], whole + bytes(MOST_BYTES))))
    assert not is_readable(with_tags({b"A2B0": of_elements(1)[180:]} | {b"x%03d" % n: b"" for n in range(100)}))
    assert not is_readable(with_tags({b"A2B0": b"mpet" + bytes(40)}))
