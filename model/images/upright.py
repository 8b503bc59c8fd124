"""Which way up a picture was taken: the orientation that EXIF names, and no other metadata.

Pillow reads EXIF too, but it refuses pictures whose EXIF is broken, and copies every field: a file of a megabyte can
name ten thousand fields of a megabyte each.
"""

import struct

from PIL import Image

ORIENTATION, SHORT, LONG = 0x0112, 3, 4
UPRIGHT = 1

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(picture: Image.Image) -> int:
    """Return a loaded picture's orientation, 1 to 8; 1, upright, if its EXIF names none or is broken."""
    exif = picture.info.get("exif")
    # Pillow and pillow-heif turn TIFF, AVIF and HEIF pictures themselves, as those formats have fields for it.
    return named_in(exif) if isinstance(exif, bytes) else UPRIGHT


def turn(picture: Image.Image, orientation: int) -> Image.Image:
    """Return the picture upright."""
    return picture.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else picture


def named_in(exif: bytes) -> int:
    """Return the orientation that EXIF names, which is a TIFF without a picture; 1 if it names none or is broken."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == ORIENTATION:
                (value,) = struct.unpack_from(order + {SHORT: "H", LONG: "I"}.get(kind, "H"), tiff, at + 8)
                return int(value) if value in TRANSPOSITIONS else UPRIGHT
    except struct.error:  # the EXIF ends before its fields do
        pass
    return UPRIGHT


def as_exif(orientation: int) -> bytes:
    """Make EXIF that names this orientation and nothing else."""
    field = struct.pack("<HHIHH", ORIENTATION, SHORT, 1, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + field + bytes(4)
