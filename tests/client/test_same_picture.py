"""The service sees the same picture whether the client is given a file, a PIL image or an array."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from app.inference.decoding import decode_one
from app.problems import Problem
from leo_client.images import to_file
from model.images.drawings import NoDrawing
from model.images.reader import DrawingReader, PhotoReader
from tests.helpers.drawn import CHARACTERS, canvas, encoded
from tests.helpers.modes import MODES, in_mode
from tests.helpers.photographed import product

SHAPES = [(1, 1), (1, 40), (40, 1), (2, 3), (9, 500), (60, 44), (450, 420)]
READERS = [DrawingReader(28), PhotoReader(32)]
LIMIT = 10**7
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def seen(data: bytes, read: Any) -> Any:
    """What the model is given for a file; None where it shows no drawing."""
    try:
        return decode_one(data, 0, read, LIMIT)
    except Problem as problem:
        if "shows no drawing" not in str(problem.detail):
            raise
        return None


def assert_same(one: Any, other: Any) -> None:
    assert (one is None) == (other is None)
    if one is not None:
        assert np.array_equal(one, other)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_is_read_as_the_library_reads_it(mode: str, size: tuple[int, int]) -> None:
    picture = in_mode(mode, size)
    for read in READERS:
        try:
            expected = read(picture)
        except NoDrawing:
            expected = None
        assert_same(seen(to_file(picture), read), expected)


@pytest.mark.parametrize("levels", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("mode", ["I", "F"])
def test_any_depth_is_the_same_picture(mode: str, levels: int) -> None:
    picture = in_mode(mode, (60, 44), levels)
    eight = in_mode("L")
    picture.putpixel((0, 0), levels)  # the white that tells the range
    eight.putpixel((0, 0), 255)
    assert_same(seen(to_file(picture), PhotoReader(32)), PhotoReader(32)(picture))
    assert np.abs(PhotoReader(32)(picture).astype(int) - PhotoReader(32)(eight)).max() <= 1


def test_pixels_of_no_usual_range_are_stretched() -> None:
    eight = np.asarray(in_mode("L"))
    full = (eight - eight.min()) / (eight.max() - eight.min())
    expected = PhotoReader(32)(Image.fromarray(np.round(full * 255).astype(np.uint8))).astype(int)
    for values in (full * 1e6, full * 7 - 3, full):
        picture = Image.fromarray(values.astype(np.float32))
        assert np.abs(PhotoReader(32)(picture) - expected).max() <= 1
        assert_same(seen(to_file(picture), PhotoReader(32)), PhotoReader(32)(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_opened_file_is_the_file(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for picture in (product("orange", 3, (70, 50)), product("lime", 3, (500, 410))):
        data = encoded(picture, kind, exif=exif, icc_profile=PROFILE)
        for read in READERS:
            assert_same(seen(to_file(opened(data)), read), seen(data, read))


def test_an_unread_jpeg_is_sent_as_it_is_and_one_that_was_changed_is_not() -> None:
    data = encoded(product("orange", 3), "JPEG")
    unread, smaller, turned = opened(data), opened(data), opened(data)
    assert to_file(unread) == data
    assert unread.size == product("orange", 3).size  # it can still be read
    unread.load()
    smaller.draft("RGB", (100, 100))
    turned.paste(0, (0, 0, 200, 200))
    for picture in (unread, smaller, turned):
        sent = opened(to_file(picture))
        assert (sent.format, sent.size) == ("PNG", picture.size)
        assert sent.tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"),
        ("GIF", "P"), ("GIF", "L"), ("BMP", "1"), ("BMP", "L"), ("BMP", "P"), ("BMP", "RGB"), ("JPEG", "L"),
        ("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "YCbCr"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("AVIF", "RGBA"),
        ("TIFF", "1"), ("TIFF", "L"), ("TIFF", "LA"), ("TIFF", "P"), ("TIFF", "RGB"), ("TIFF", "RGBA"),
        ("TIFF", "RGBX"), ("TIFF", "CMYK"), ("TIFF", "YCbCr"), ("TIFF", "LAB"), ("TIFF", "I"), ("TIFF", "I;16"),
        ("TIFF", "F"),
    ],
)  # fmt: skip
def test_a_file_of_any_mode_is_the_same_when_it_is_opened_first(kind: str, mode: str) -> None:
    data = encoded(in_mode(mode), kind)
    for read in READERS:
        assert_same(seen(to_file(opened(data)), read), seen(data, read))


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])], ids=["one colour", "many"])
def test_a_palette_with_transparency(transparency: object) -> None:
    data = encoded(canvas(CHARACTERS["ring"]).convert("P"), "PNG", transparency=transparency)
    for read in READERS:
        assert_same(seen(to_file(opened(data)), read), seen(data, read))


def test_several_frames_are_their_first() -> None:
    first, second = product("orange", 3), product("lime", 3)
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(first, kind, save_all=True, append_images=[second])
        for read in READERS:
            assert_same(seen(to_file(opened(data)), read), seen(data, read))


def test_gamma_and_resolution_change_nothing() -> None:
    picture = product("orange", 3)
    info = PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    data = encoded(picture, "PNG", pnginfo=info, dpi=(300, 300))
    for read in READERS:
        assert_same(seen(data, read), read(picture))
        assert_same(seen(to_file(opened(data)), read), read(picture))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    colours=st.sampled_from([None, 1, 3, 4]),
    kind=st.sampled_from(["bool", "uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float"]),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_an_array_of_any_type_is_its_picture(shape: tuple[int, int], colours: int | None, kind: str, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (*shape, *([colours] if colours else [])), dtype=np.uint8)
    levels[0, 0] = 255  # the white that tells the range
    if kind == "bool":
        levels = np.where(levels > 99, 255, 0).astype(np.uint8)
    same = {
        "bool": lambda: [levels > 99],
        "uint8": lambda: [levels, levels[:, ::-1][:, ::-1]],
        "uint16": lambda: [levels.astype(np.uint16) * 257, levels.astype(np.uint16)],
    }.get(kind, lambda: [levels.astype(kind)])()
    if kind.startswith("float"):
        same.append((levels / 255).astype(kind))
    expected = PhotoReader(32)(Image.fromarray(levels[..., 0] if colours == 1 else levels))
    for array in same:
        pixels = seen(to_file(array), PhotoReader(32))
        assert np.abs(pixels.astype(int) - expected).max() <= 1
