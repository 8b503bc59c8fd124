"""Counts the pixels that a HEIC or AVIF file makes its decoder decode, which its own size does not tell.

Such a file may compose its picture of others, and of a large one show a small part. Its decoder decodes whatever is
named, as often as it is named: a small picture of 65,536 tiles, each of which is the same large image, takes hours.
"""

import struct
from collections.abc import Iterator

MAX_REFERENCES = 100_000
MAX_DEPTH = 8
DERIVED_FROM = b"dimg"


def pixels_to_decode(data: bytes, unknown: int) -> int:
    """Return the most pixels that one picture of the file takes, with those it is composed of.

    Args:
        data: the file.
        unknown: how many pixels an image counts whose size is not given.

    Raises:
        ValueError: pictures are composed of each other, or of far too many.
        struct.error: a box ends early.
    """
    metas = [(start + 4, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta"]
    if not metas:
        return 0
    inside = {kind: (start, end) for kind, start, end in _boxes(data, *metas[0])}
    sizes = _sizes(data, *inside[b"iprp"]) if b"iprp" in inside else {}
    parts = _parts(data, *inside[b"iref"]) if b"iref" in inside else {}
    totals: dict[int, int] = {}

    def total(item: int, above: tuple[int, ...] = ()) -> int:
        if item in above or len(above) > MAX_DEPTH:
            raise ValueError("pictures are composed of each other")
        if item not in totals:
            of_parts = sum(total(part, (*above, item)) for part in parts.get(item, []))
            totals[item] = sizes.get(item, unknown) + of_parts
        return totals[item]

    return max(map(total, {*sizes, *parts}), default=0)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Go through the boxes between two places: their kind, and where their content begins and ends."""
    for _ in range(MAX_REFERENCES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = min(start + size, end) if size else end
        yield kind, content, stop
        start = max(stop, content)
    raise ValueError("too many boxes")


def _sizes(data: bytes, start: int, end: int) -> dict[int, int]:
    """Read the pixels of each item."""
    properties: list[int | None] = [None]  # they are counted from 1
    sizes: dict[int, int] = {}
    for kind, at, stop in _boxes(data, start, end):
        if kind == b"ipco":
            for name, inner, _ in _boxes(data, at, stop):
                width, height = struct.unpack_from(">II", data, inner + 4) if name == b"ispe" else (0, 0)
                properties.append(width * height if name == b"ispe" else None)
        elif kind == b"ipma":
            version, _, flags, count = struct.unpack_from(">BHBI", data, at)
            id_form, wide = (">I" if version else ">H"), flags & 1
            at += 8
            for _ in range(min(count, MAX_REFERENCES)):
                (item,) = struct.unpack_from(id_form, data, at)
                at += struct.calcsize(id_form)
                (used,) = struct.unpack_from(">B", data, at)
                numbers = struct.unpack_from(f">{used}{'H' if wide else 'B'}", data, at + 1)
                at += 1 + used * (1 + wide)
                for number in numbers:
                    index = number & (0x7FFF if wide else 0x7F)
                    area = properties[index] if index < len(properties) else None
                    if area is not None:
                        sizes[item] = max(sizes.get(item, 0), area)
    return sizes


def _parts(data: bytes, start: int, end: int) -> dict[int, list[int]]:
    """Read of which items each item is composed."""
    form = "I" if data[start] else "H"
    parts: dict[int, list[int]] = {}
    total = 0
    for kind, at, _ in _boxes(data, start + 4, end):
        if kind == DERIVED_FROM:
            item, count = struct.unpack_from(f">{form}H", data, at)
            total += count
            if total > MAX_REFERENCES:
                raise ValueError("too many parts")
            parts.setdefault(item, []).extend(
                struct.unpack_from(f">{count}{form}", data, at + struct.calcsize(f">{form}H"))
            )
    return parts
