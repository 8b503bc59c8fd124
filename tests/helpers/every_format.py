"""A drawing and a photo in every format that is read, and files made of them by changing bytes."""

import random
import struct

import pillow_heif
from PIL import Image

from tests.helpers.drawn import CHARACTERS, canvas, encoded
from tests.helpers.photographed import product

pillow_heif.register_heif_opener()

RING = canvas(CHARACTERS["ring"], side=90, pen=4)
PHOTO = product("orange", 1, (160, 120))
TURNED = Image.Exif()
TURNED[0x0112] = 6
NASTY = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\xff\xff\0\0"]


def several() -> dict[str, object]:
    """Options that save a second picture; a new one each time, as Pillow leaves its settings on it."""
    return {"save_all": True, "append_images": [RING.rotate(90)]}


def files_of(kind: str) -> list[bytes]:
    """Return files of a format: drawings and photos, of several modes, with metadata, with more than one picture."""
    tiffs = [{"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")]
    made: dict[str, list[tuple[Image.Image, dict[str, object]]]] = {
        "PNG": [(PHOTO, {"exif": TURNED}), (RING.convert("P"), {}), (RING.convert("1"), {}), (RING, several())],
        "JPEG": [
            (PHOTO, {"exif": TURNED}), (PHOTO, {"progressive": True}), (PHOTO.convert("CMYK"), {}),
            (RING, {"restart_marker_rows": 2}),
        ],
        "MPO": [(RING, several())],
        "WEBP": [(PHOTO, {"exif": TURNED}), (PHOTO.convert("RGBA"), {"lossless": True}), (RING, several())],
        "GIF": [(RING, {**several(), "comment": b"x" * 300}), (PHOTO.convert("P"), {"transparency": 3})],
        "BMP": [(PHOTO, {}), (RING, {}), (RING.convert("1"), {})],
        "TIFF": [
            *((PHOTO, options) for options in tiffs), (RING.convert("1"), {"compression": "group4"}),
            (PHOTO, {"big_tiff": True, "exif": TURNED}), (RING, several()),
        ],
        "AVIF": [(PHOTO, {"exif": TURNED}), (PHOTO.convert("RGBA"), {}), (RING, several())],
        "HEIF": [(PHOTO, {"exif": TURNED.tobytes()}), (PHOTO.convert("RGBA"), {}), (PHOTO, {"tile_size": 64})],
    }  # fmt: skip
    return [encoded(picture, kind, **options) for picture, options in made[kind]]


KINDS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")


def changed(file: bytes, rng: random.Random) -> bytes:
    """Change, cut out, double or cut off some bytes, most often in the first, where sizes and offsets lie."""
    data = bytearray(file)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        if not data:
            break
        at = rng.randrange(len(data) if rng.random() < 0.4 else min(len(data), 400))
        match rng.choices(["bit", "value", "number", "cut", "double", "end"], [8, 4, 3, 2, 2, 1])[0]:
            case "bit":
                data[at] ^= 1 << rng.randrange(8)
            case "value":
                data[at] = rng.choice([0, 255, 127, 128, 1])
            case "number":
                data[at : at + 4] = rng.choice(NASTY)
            case "cut":
                del data[at : at + rng.randrange(1, 20)]
            case "double":
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case "end":
                del data[at:]
    return bytes(data)


def heic_of_hidden_tiles() -> bytes:
    """A HEIC of 512x512 pixels that names 4 million more, in tiles outside its edges."""
    side, tile = 2048, 512
    data = encoded(Image.new("L", (side, side), 200), "HEIF", tile_size=tile, quality=10)
    size, small = struct.pack(">II", side, side), struct.pack(">II", tile, tile)
    data = data.replace(b"ispe\0\0\0\0" + size, b"ispe\0\0\0\0" + small)
    grid = bytes([0, 0, side // tile - 1, side // tile - 1])
    return data.replace(grid + struct.pack(">HH", side, side), grid + struct.pack(">HH", tile, tile))
