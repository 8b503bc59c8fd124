"""Colour profiles of pictures: those are read that take a time that grows with their bytes only."""

import contextlib
import io
import struct
from collections.abc import Iterator

from PIL import Image, ImageCms

MOST_BYTES = 2**22  # the largest profiles of printers have three megabytes
MOST_TAGS = 100  # LittleCMS reads no more
HEADER_BYTES, ENTRY_BYTES = 128, 12

# Lists of processing elements. One may name the same table a hundred thousand times, and LittleCMS computes each: a
# picture of 500 bytes then takes minutes. Cameras, screens and printers are described by the other tags.
ELEMENTS = {b"D2B0", b"D2B1", b"D2B2", b"D2B3", b"B2D0", b"B2D1", b"B2D2", b"B2D3"}
ELEMENTS_TYPE = b"mpet"

SRGB = ImageCms.createProfile("sRGB")


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours from the picture's own profile to sRGB.

    A profile that is damaged, does not fit or would take long is ignored.
    """
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile and is_readable(profile):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, own, SRGB, outputMode=target)
            if converted is not None:
                return converted
    return picture.convert(target)


def is_readable(profile: bytes) -> bool:
    """Whether converting colours by an ICC profile takes milliseconds; what is damaged is not readable either."""
    if not HEADER_BYTES + 4 <= len(profile) <= MOST_BYTES:
        return False
    (count,) = struct.unpack_from(">L", profile, HEADER_BYTES)
    if count > MOST_TAGS or HEADER_BYTES + 4 + count * ENTRY_BYTES > len(profile):
        return False
    return not any(name in ELEMENTS or kind == ELEMENTS_TYPE for name, kind in _tags(profile, count))


def _tags(profile: bytes, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Names and types of the first tags."""
    for at in range(HEADER_BYTES + 4, HEADER_BYTES + 4 + count * ENTRY_BYTES, ENTRY_BYTES):
        name, place = struct.unpack_from(">4sL", profile, at)
        yield name, profile[place : place + 4]
