"""Hostile image files, and what the service answers: `python -m tests.helpers.hostile_files FOLDER` writes them.

The table in docs/operations.md is this one; a test holds the service to it.
"""

import io
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.drawn import CHARACTERS, canvas, encoded, png

NOT_ONE = "is not a PNG, JPEG, WEBP"
A_ZIP = "is a zip: send it in the field"  # of whole folders
DAMAGED = "damaged or truncated"
NO_DRAWING = "shows no drawing"


@dataclass(frozen=True)
class Hostile:
    """A file, and what the refusal says of it; or the class that it is recognised as."""

    data: bytes
    refused: str | None = None
    taken_for: str | None = None


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bare_png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG whose header may declare anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def two_headers() -> bytes:
    """Says first that it is small, then that it is not."""
    small, large = (struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0) for side in (20, 7000))
    data = chunk(b"IHDR", small) + chunk(b"IHDR", large) + chunk(b"IDAT", zlib.compress(b"\0" * 876 * 7000, 9))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def flipped(data: bytes, after: bytes, by: int) -> bytes:
    changed = bytearray(data)
    changed[changed.index(after) + by] ^= 0xFF
    return bytes(changed)


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("drawing.png", data)
    return buffer.getvalue()


def hostile_files() -> dict[str, Hostile]:
    """Return all hostile files by name."""
    ring = canvas(CHARACTERS["ring"])
    whole = png("ring")
    sideways = Image.Exif()
    sideways[0x0112] = 6  # "turn me by 90 degrees"
    tee = canvas(CHARACTERS["tee"])
    wide = np.asarray(ring).astype(np.uint16) * 257
    other = canvas(CHARACTERS["ex"])
    gif = encoded(ring, "GIF")
    return {
        "one-pixel.png": Hostile(encoded(Image.new("L", (1, 1))), NO_DRAWING),
        "no-bytes.png": Hostile(b"", "is empty"),
        "truncated.png": Hostile(whole[:-60], DAMAGED),
        "truncated.jpg": Hostile(encoded(ring, "JPEG")[:1500], DAMAGED),
        "truncated.webp": Hostile(encoded(ring, "WEBP")[:300], DAMAGED),
        "header-only.png": Hostile(whole[:20], ""),
        "crc-broken.png": Hostile(flipped(whole, b"IDAT", 10), DAMAGED),
        "bomb-50000x50000.png": Hostile(bare_png(50_000, 50_000, b"\0" * 10**6), "50000x50000, over the limit"),
        "says-large-holds-little.png": Hostile(bare_png(7000, 7000, b"\0" * 1000), DAMAGED),
        "blank-of-49-million.png": Hostile(bare_png(7000, 7000, b"\0" * 7001 * 7000), NO_DRAWING),
        "two-headers.png": Hostile(two_headers(), NO_DRAWING),
        "zero-sized.png": Hostile(bare_png(0, 0, b""), ""),
        "one-by-a-million.png": Hostile(bare_png(1, 1_000_000, b"\0\xff" * 1_000_000), NO_DRAWING),
        "nested.gif": Hostile(gif + gif, taken_for="ring"),
        "gif-called-png.png": Hostile(gif, taken_for="ring"),
        "frame-larger-than-screen.gif": Hostile(
            gif[:13] + gif[13:].replace(b",\0\0\0\0" + struct.pack("<HH", 280, 280), b",\0\0\0\0" + b"\xff" * 4),
            "65535x65535, over the limit",
        ),
        "script.svg": Hostile(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", NOT_ONE),
        "external.svg": Hostile(
            b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>", NOT_ONE
        ),
        "picture.fits": Hostile(b"SIMPLE  =                    T".ljust(2880) + b"\0" * 2880, NOT_ONE),
        "picture.psd": Hostile(b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + b"\0" * 200, NOT_ONE),
        "picture.tiff": Hostile(encoded(ring, "TIFF"), taken_for="ring"),
        "picture.bmp": Hostile(encoded(ring, "BMP"), taken_for="ring"),
        "picture.avif": Hostile(encoded(ring, "AVIF"), taken_for="ring"),
        "picture.eps": Hostile(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n", NOT_ONE),
        "archive.zip": Hostile(zipped(whole), A_ZIP),
        "zip-then-png.png": Hostile(zipped(b"x") + whole, A_ZIP),
        "png-then-zip.png": Hostile(whole + zipped(b"x"), taken_for="ring"),
        "png-then-script.png": Hostile(whole + b"<script>alert(1)</script>", taken_for="ring"),
        "text-bomb.png": Hostile(
            whole[:33] + chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 10**8, 9)) + whole[33:], taken_for="ring"
        ),
        "exif-turned.jpg": Hostile(
            encoded(tee.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=sideways), taken_for="tee"
        ),
        "cmyk.jpg": Hostile(encoded(ring.convert("CMYK"), "JPEG"), taken_for="ring"),
        "sixteen-bits.png": Hostile(encoded(Image.fromarray(wide)), taken_for="ring"),
        "one-bit.png": Hostile(encoded(ring.convert("1")), taken_for="ring"),
        "palette-with-transparency.png": Hostile(encoded(ring.convert("P"), transparency=255), taken_for="ring"),
        "animated.png": Hostile(encoded(ring, "PNG", save_all=True, append_images=[other]), taken_for="ring"),
        "animated.webp": Hostile(
            encoded(ring, "WEBP", save_all=True, append_images=[other], lossless=True), taken_for="ring"
        ),
        "too-little-data.png": Hostile(bare_png(64, 64, b"\0" * 10), DAMAGED),
    }


def main() -> None:
    """Write all of them to a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in hostile_files().items():
        (folder / name).write_bytes(file.data)


if __name__ == "__main__":
    main()
