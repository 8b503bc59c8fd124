"""Colour profiles, and pictures that have one."""

import io
import struct

from PIL import Image


def _number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_number, values))


def of_elements(count: int) -> bytes:
    """A profile whose only way to its colours is a list of processing elements, all of which are the same table."""
    corners = [0.1 + 0.8 * bit for corner in range(8) for bit in (corner >> 2 & 1, corner >> 1 & 1, corner & 1)]
    table = b"clut" + bytes(4) + struct.pack(">HH", 3, 3) + bytes([2, 2, 2]) + bytes(13) + struct.pack(">24f", *corners)
    head = b"mpet" + bytes(4) + struct.pack(">HHL", 3, 3, count)
    elements = head + struct.pack(">LL", len(head) + 8 * count, len(table)) * count + table
    return with_tags({b"D2B0": elements, b"wtpt": _xyz(0.9642, 1, 0.8249)})


def of_swapped_colours() -> bytes:
    """An ordinary profile, by which red and blue are what sRGB calls blue and red."""
    straight = b"curv" + bytes(8)
    return with_tags(
        {
            b"rXYZ": _xyz(0.1431, 0.0606, 0.7141),
            b"gXYZ": _xyz(0.3851, 0.7169, 0.0971),
            b"bXYZ": _xyz(0.4360, 0.2225, 0.0139),
            b"rTRC": straight,
            b"gTRC": straight,
            b"bTRC": straight,
            b"wtpt": _xyz(0.9642, 1, 0.8249),
        }
    )


def with_tags(tags: dict[bytes, bytes]) -> bytes:
    """A profile of a screen with these tags."""
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">L", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">LL", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">L4sL4s4s4s", at + len(body), b"lcms", 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(map(_number, (0.9642, 1, 0.8249)))
    return header.ljust(128, b"\0") + table + body


def png_with(profile: bytes, picture: Image.Image) -> bytes:
    """A PNG with a colour profile."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", icc_profile=profile)
    return buffer.getvalue()
