"""PNGs are turned by an eXIf wherever it stands, and animated ones are seen by the first frame that browsers show."""

import io
import struct
import zlib

from PIL import Image, ImageOps

from model.images import files
from model.images.upright import orientation, turn

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pixels(colour: tuple[int, int, int], width: int = 4, height: int = 2) -> bytes:
    return zlib.compress((b"\0" + bytes(colour) * width) * height)


def control(number: int, width: int = 4, height: int = 2) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 1, 0, 0))


HEADER = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0))
ANIMATION, END = chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"IEND", b"")
DEFAULT = chunk(b"IDAT", pixels(RED))


def colour_of(png: bytes) -> object:
    return files.read(png, lambda picture: picture.convert("RGB").getpixel((0, 0)))


def test_exif_turns_a_png_also_after_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    named = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for png in (HEADER + named + DEFAULT + END, HEADER + DEFAULT + named + END):
        with Image.open(io.BytesIO(png)) as picture:
            picture.load()
            by_pillow = ImageOps.exif_transpose(picture).size
        found = files.read(png, lambda picture: turn(picture.convert("RGB"), orientation(picture)).size)
        assert found == by_pillow == (2, 4)


def test_an_animation_is_seen_by_its_first_frame_as_browsers_show_it() -> None:
    frame = control(0) + chunk(b"fdAT", struct.pack(">I", 1) + pixels(BLUE))
    second = control(2) + chunk(b"fdAT", struct.pack(">I", 3) + pixels((0, 255, 0)))
    assert colour_of(HEADER + ANIMATION + DEFAULT + frame + END) == BLUE  # its default image is no frame
    assert colour_of(HEADER + ANIMATION + DEFAULT + frame + second + END) == BLUE
    assert colour_of(HEADER + ANIMATION + control(0) + DEFAULT + second + END) == RED  # it is the first frame


def test_a_frame_that_does_not_cover_the_picture_leaves_the_default_image() -> None:
    small = control(0, 2, 1) + chunk(b"fdAT", struct.pack(">I", 1) + pixels(BLUE, 2, 1))
    assert colour_of(HEADER + ANIMATION + DEFAULT + small + END) == RED
    for broken in (b"fcTL", b"fdAT"):
        assert colour_of(HEADER + ANIMATION + DEFAULT + chunk(broken, b"") + END) == RED
