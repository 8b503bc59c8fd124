"""Strips image files of everything but what their first picture needs, so that metadata decides nothing.

Decoders read all metadata of a file. They refuse pictures for a wrong checksum of a comment, and some metadata costs
far more than it weighs: a TIFF may name the same megabyte as thousands of fields. What is kept: pixels, palette,
transparency, colour profile, orientation.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from model.images import upright

MAX_PARTS = 100_000  # chunks, segments or blocks of a file. Walking through so many takes a tenth of a second

MAX_SCANS = 40  # of a JPEG; programs write about ten. A scan of 75 bytes takes 35 ms where the picture is large

PNG_START = 8
PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_KEPT = (b"tRNS", b"iCCP", b"eXIf")
PNG_CLEAR_COLOUR = {0: 2, 2: 6}  # by colour type, grey or RGB: bytes that name the transparent colour
MAX_PROFILE = 1_000_000  # bytes of a colour profile in a PNG; Pillow refuses pictures with larger ones

WEBP_PICTURE = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
WEBP_KEPT = (*WEBP_PICTURE, b"VP8X", b"ANIM", b"ICCP", b"EXIF")

# width, height, depth, compression, colours, bit order, strips, orientation, channels, predictor, palette, tiles, alpha
TIFF_KEPT = {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338}
TIFF_KEPT |= {339, 347, 529, 530, 531, 532, 34675}  # sample format, tables of JPEG, YCbCr, colour profile
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


Chunk = tuple[bytes, bytes]  # of a PNG: its kind, and all of it


class TooManyParts(ValueError):
    """A file is cut into far more parts than any program writes."""


def strip(data: bytes, kind: str) -> bytes:
    """Return a file of this format with what its first picture needs, or `data` itself if there is nothing else.

    The file may be broken; then so is the result. Raises `TooManyParts`, or `struct.error` where a header ends early.
    """
    stripper = STRIPPERS.get(kind)
    return stripper(data) if stripper else data


def _png(data: bytes) -> bytes:
    kept, everything = [data[:PNG_START]], True
    for kind, chunk in _shown(list(_png_chunks(data))):
        if kind in PNG_PIXELS or (kind in PNG_KEPT and _is_sound(kind, chunk, data)):
            kept.append(chunk)
        else:
            everything = False
    return data if everything else b"".join(kept)


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    at = PNG_START
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at : at + length + 12]
        at += length + 12
        if kind == b"IEND":
            return
    raise TooManyParts


def _shown(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks of what browsers show: of an animated PNG its first frame, which need not be its default image.

    A default image that is no frame is for programs that show no animations. It is taken here too where the first frame
    does not cover the picture.
    """
    kinds = [kind for kind, _ in chunks]
    if b"acTL" not in kinds or b"IDAT" not in kinds or b"fcTL" not in kinds:
        return chunks
    pixels, frame = kinds.index(b"IDAT"), kinds.index(b"fcTL")
    area = chunks[0][1][8:16], bytes(8)  # the picture's width and height, and where a frame that covers it begins
    control = chunks[frame][1]
    if kinds.index(b"acTL") > pixels or frame < pixels or (control[12:20], control[20:28]) != area:
        return chunks
    of_frame = []
    for kind, chunk in chunks[frame + 1 :]:
        if kind != b"fdAT":
            break
        content = chunk[12:-4]  # after the number of the chunk
        check = struct.pack(">I", zlib.crc32(b"IDAT" + content))
        of_frame.append((b"IDAT", struct.pack(">I4s", len(content), b"IDAT") + content + check))
    others = [(kind, chunk) for kind, chunk in chunks if kind not in (b"IDAT", b"IEND")]
    return [*others, *of_frame, chunks[-1]] if of_frame and kinds[-1] == b"IEND" else chunks


def _is_sound(kind: bytes, chunk: bytes, data: bytes) -> bool:
    """Whether a chunk that is not needed to decode a PNG is whole and can be understood."""
    content = chunk[8:-4]
    if chunk[-4:] != struct.pack(">I", zlib.crc32(kind + content)):
        return False
    if kind == b"tRNS":
        return len(content) == PNG_CLEAR_COLOUR.get(data[25], len(content))
    if kind == b"iCCP":
        _, _, compressed = content.partition(b"\0")
        profile = zlib.decompressobj()
        try:
            return bool(profile.decompress(compressed[1:], MAX_PROFILE)) and not profile.unconsumed_tail
        except zlib.error:
            return False
    return True


def _jpeg(data: bytes) -> bytes:
    kept, at, turned, in_one_scan = [data[:2]], 2, False, 0
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return b"".join(kept)
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0xDA:  # the scan begins, and no metadata follows
            rest: bytes | memoryview = memoryview(data)[at:]
            if data[at + 4] != in_one_scan:
                scans, end_of_picture, _ = data[at:].partition(b"\xff\xd9")
                if scans.count(b"\xff\xda") > MAX_SCANS:
                    raise TooManyParts
                rest = scans + end_of_picture
            return b"".join((*kept, rest))
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD9:  # these have no content
            at += 2
        else:
            end = at + 2 + int(struct.unpack_from(">H", data, at + 2)[0])
            content = data[at + 4 : end]
            if marker in (0xC0, 0xC1):
                in_one_scan = content[5]  # channels. Where the first scan has all of them, there is no second
            if marker == 0xE1 and content.startswith(b"Exif\0\0"):
                exif = upright.as_exif(upright.named_in(content))
                kept += [] if turned else [b"\xff\xe1", struct.pack(">H", 2 + len(exif)), exif]
                turned = True
            elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _tells_colours(marker, content):
                kept.append(data[at:end])
            at = end
    raise TooManyParts


def _tells_colours(marker: int, content: bytes) -> bool:
    """Whether a segment of metadata in a JPEG says how its colours are meant."""
    match marker:
        case 0xE0:
            return content.startswith(b"JFIF\0") and len(content) >= 14
        case 0xE2:
            return content.startswith(b"ICC_PROFILE\0")
        case 0xEE:
            return content.startswith(b"Adobe") and len(content) >= 12
    return False


def _webp(data: bytes) -> bytes:
    kept: list[bytes] = []
    at, animated = 12, False
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            content = b"".join(kept)
            return data[:4] + struct.pack("<I", 4 + len(content)) + b"WEBP" + content
        kind, length = struct.unpack_from("<4sI", data, at)
        chunk = data[at : at + 8 + length + length % 2]
        whole = len(chunk) >= 8 + length
        if kind in WEBP_KEPT and (whole or kind in WEBP_PICTURE) and not (kind == b"ANMF" and animated):
            kept.append(chunk + b"\0" * (whole and len(chunk) % 2))
        animated |= kind == b"ANMF"
        at += 8 + length + length % 2
    raise TooManyParts


def _gif(data: bytes) -> bytes:
    """Leave out what stands before the first picture, but for its transparency."""
    start = at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    control, extension = b"", -1
    for _ in range(MAX_PARTS):
        if extension < 0:
            if data[at : at + 1] != b"!":
                return data[:start] + control + data[at:]
            extension = at
            at += 2
        elif at < len(data) and data[at]:  # a block of the extension
            at += 1 + data[at]
        else:
            at += 1
            control = data[extension:at] if data[extension + 1 : extension + 2] == b"\xf9" else control
            extension = -1
    raise TooManyParts


def _tiff(data: bytes) -> bytes:
    """Keep of the first picture's fields those that it needs, and no further picture."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, count_form, entry_form, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    (directory,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_form, data, directory)
    if count > 65535:
        raise TooManyParts
    first, width = directory + struct.calcsize(order + count_form), 20 if big else 12
    kept: dict[int, bytes] = {}
    total = 0
    for at in range(first, first + count * width, width):
        tag, kind, values = struct.unpack_from(order + entry_form, data, at)
        size = TIFF_SIZES.get(kind, 0) * values
        if tag in TIFF_KEPT and tag not in kept and (size <= inline or total + size <= len(data)):
            kept[tag] = data[at : at + width]
            total += size
    entries = struct.pack(order + count_form, len(kept)) + b"".join(kept.values()) + bytes(struct.calcsize(offset))
    return data[:directory] + entries + data[directory + len(entries) :]


def _boxes(data: bytes) -> bytes:
    """Rename the item of EXIF in an AVIF. Its fields are of no use, as the format has its own for orientation."""
    meta = data.find(b"meta")
    media = data.find(b"mdat", meta)
    head = data[: media if media > 0 else len(data)]
    return re.sub(rb"(infe.{8,12})Exif", rb"\1skip", head, flags=re.DOTALL) + data[len(head) :]


STRIPPERS = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "GIF": _gif, "TIFF": _tiff, "AVIF": _boxes}
