"""Tells JPEGs that lack only their end from those that lack pixels.

Some cameras and programs leave out the last two bytes, the marker of the end, which decoders wait for. A decoder that
is given the marker decodes files without pixels too: it takes the missing bits for zeros, and says nothing.
"""

import hashlib
import io
import re

from PIL import Image

END = b"\xff\xd9"
FILLINGS = (b"", b"\x55\xaa\x5a" * 64)


def has_end(data: bytes) -> bool:
    """Whether a JPEG without metadata, and so without a thumbnail, holds a marker of its end."""
    return data.rfind(END) >= 0


def ended(data: bytes) -> bytes | None:
    """Return a JPEG with its end, or None if it lacks pixels as well. Decodes the whole picture twice.

    A complete picture does not depend on bytes after its last pixel, and an incomplete one takes its pixels from them.
    """
    if not _has_all_scans(data):
        return None
    data = data.removesuffix(END[:1])
    pictures = set()
    for filling in FILLINGS:
        with Image.open(io.BytesIO(data + filling + END), formats=["JPEG"]) as picture:
            pictures.add(hashlib.sha256(picture.tobytes()).digest())
    return data + END if len(pictures) == 1 else None


def _has_all_scans(data: bytes) -> bool:
    """Whether each coefficient of a progressive JPEG has been sent to its last bit; True for other JPEGs."""
    frame = data.find(b"\xff\xc2")
    if frame < 0:
        return True
    components = data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3]
    missing = {(component, coefficient) for component in components for coefficient in range(64)}
    for scan in re.finditer(rb"\xff\xda", data):
        at = scan.end() + 2
        end = at + 1 + 2 * data[at]
        first, last, bits = data[end : end + 3]
        if bits & 0x0F == 0:
            missing -= {(part, each) for part in data[at + 1 : end : 2] for each in range(first, last + 1)}
    return not missing
