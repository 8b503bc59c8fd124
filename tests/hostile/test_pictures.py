"""Metadata never decides whether a picture is read, or how; a picture without all of its pixels is refused."""

import contextlib
import functools
import resource
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.inference.decoding import decode_one
from app.problems import Problem
from model.images import files
from model.images.heif_boxes import pixels_to_decode
from model.images.reader import DrawingReader, PhotoReader
from tests.helpers.drawn import CHARACTERS, canvas, encoded
from tests.helpers.every_format import heic_of_hidden_tiles
from tests.helpers.hostile_files import chunk
from tests.helpers.photographed import product
from tests.helpers.profiles import of_elements, png_with
from tests.helpers.tasks import FIVE, create, create_from, predict

RING = canvas(CHARACTERS["ring"])
PHOTO = product("orange", 1)
SIDE = 64
LIMIT = 50_000_000
AFTER_HEADER = 33  # bytes of a PNG's signature and IHDR
BROKEN_EXIF = b"Exif\0\0MM\0*\xff\xff\xff\xff"


def photo_input(data: bytes) -> np.ndarray:
    pixels = decode_one(data, 0, PhotoReader(SIDE), LIMIT)
    assert pixels is not None
    return pixels


def refusal(data: bytes) -> str:
    with pytest.raises(Problem) as refused:
        decode_one(data, 7, PhotoReader(SIDE), LIMIT)
    assert (refused.value.status, refused.value.extra) == (422, {"index": 7})
    return str(refused.value.detail)


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """Put chunks behind a PNG's header."""
    return data[:AFTER_HEADER] + b"".join(chunks) + data[AFTER_HEADER:]


def wrong_checksum(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 0xFF])


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@functools.cache
def plain(kind: str) -> bytes:
    return encoded(PHOTO, kind, **({"lossless": True} if kind == "WEBP" else {}))


def odd_metadata() -> dict[str, tuple[bytes, bytes]]:
    """Files with odd metadata, each beside the same picture without it."""
    noise = np.random.default_rng(0).bytes(1_500_000)
    png_file, jpeg, webp = plain("PNG"), plain("JPEG"), plain("WEBP")
    with_exif = encoded(PHOTO, "WEBP", lossless=True, exif=BROKEN_EXIF)
    no_end = png_file[:-12]
    return {
        "png: broken EXIF": (with_chunks(png_file, chunk(b"eXIf", BROKEN_EXIF[6:])), png_file),
        "png: checksum of pHYs": (with_chunks(png_file, wrong_checksum(chunk(b"pHYs", bytes(9)))), png_file),
        "png: checksum of tEXt": (with_chunks(png_file, wrong_checksum(chunk(b"tEXt", b"a\0b"))), png_file),
        "png: checksum of tRNS": (with_chunks(png_file, wrong_checksum(chunk(b"tRNS", bytes(6)))), png_file),
        "png: tRNS of a wrong length": (with_chunks(png_file, chunk(b"tRNS", b"\0")), png_file),
        "png: gAMA of a wrong length": (with_chunks(png_file, chunk(b"gAMA", b"\0")), png_file),
        "png: 1.5 MB of zTXt": (with_chunks(png_file, chunk(b"zTXt", b"a\0\0" + zlib.compress(noise, 0))), png_file),
        "png: 1.5 MB of iCCP": (with_chunks(png_file, chunk(b"iCCP", b"a\0\0" + zlib.compress(noise, 0))), png_file),
        "png: a bomb of iTXt": (
            with_chunks(png_file, *[chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(10**7)))] * 20), png_file
        ),
        "png: iCCP that is not compressed": (with_chunks(png_file, chunk(b"iCCP", b"a\0\0junk")), png_file),
        "png: no end": (no_end, png_file),
        "png: cut within a comment at its end": (no_end + chunk(b"tEXt", b"a\0" + b"b" * 99)[:-50], png_file),
        "jpeg: broken EXIF": (jpeg[:2] + segment(0xE1, BROKEN_EXIF) + jpeg[2:], jpeg),
        "jpeg: short Adobe": (jpeg[:2] + segment(0xEE, b"Adobe") + jpeg[2:], jpeg),
        "jpeg: broken index of pictures": (jpeg[:2] + segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff") + jpeg[2:], jpeg),
        "jpeg: broken Photoshop": (jpeg[:2] + segment(0xED, b"Photoshop 3.0\x008BIM\4\4") + jpeg[2:], jpeg),
        "jpeg: no end": (jpeg[:-2], jpeg),
        "jpeg: half of its end": (jpeg[:-1], jpeg),
        "webp: broken EXIF": (with_exif, webp),
        "webp: cut within EXIF": (with_exif[:-7], webp),
        "webp: an unknown chunk": (
            webp[:4] + struct.pack("<I", len(webp) + 4) + webp[8:] + webp_chunk(b"ABCD", b"1234"), webp
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", odd_metadata())
def test_metadata_never_decides(name: str) -> None:
    odd, same = odd_metadata()[name]
    assert np.array_equal(photo_input(odd), photo_input(same))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"restart_marker_rows": 1}),
        ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {}),
        ("HEIF", {}),
    ],
)  # fmt: skip
def test_a_picture_without_all_its_pixels_is_refused(kind: str, options: dict[str, object], share: float) -> None:
    data = heic(PHOTO) if kind == "HEIF" else encoded(PHOTO, kind, **options)
    assert "send the whole file" in refusal(data[: int(share * len(data))])


def test_a_jpeg_whose_end_was_put_on_a_part_of_it_is_still_whole_where_it_says_so() -> None:
    """Only a file that lacks its end is looked at twice, so a camera's thumbnail must not count as one."""
    jpeg = plain("JPEG")
    thumbnail = segment(0xE1, b"http://thumbnail\0" + jpeg[-2:])
    cut = jpeg[:2] + thumbnail + jpeg[2 : len(jpeg) // 2]
    assert "send the whole file" in refusal(cut)


def heic(picture: Image.Image, **options: object) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(picture, "HEIF", **options)


def test_without_pillow_heif_a_heic_is_refused_and_the_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(PHOTO)
    files.register_heif.cache_clear()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        assert "pillow-heif" in refusal(data)
    assert photo_input(data).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("side", [300, 401, 1700])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pictures_of_sixteen_bits_are_those_of_eight(side: int, kind: str) -> None:
    small = RING.resize((side, side))
    wide = Image.fromarray(np.asarray(small).astype(np.uint16) * 257)
    read = functools.partial(decode_one, index=0, read=DrawingReader(28), max_pixels=LIMIT)
    assert np.array_equal(read(encoded(wide, kind)), read(encoded(small, kind)))
    assert np.array_equal(photo_input(encoded(wide, kind)), photo_input(encoded(small, kind)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_is_turned_upright(kind: str, orientation: int) -> None:
    stored = Image.new("RGB", (60, 40), "blue")
    stored.paste("red", (10, 0, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = heic(stored, exif=exif.tobytes()) if kind == "HEIF" else encoded(stored, kind, exif=exif)
    # The first row stored is at the top, right, bottom or left; the first column on the side between.
    where = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    row, column = where[orientation]
    pixels = photo_input(data)
    red = pixels[8 if row == 0 else -9, 8 if column == 0 else -9]
    assert red[0] > 180 > 80 > red[2], red
    opposite = pixels[-9 if row == 0 else 8, -9 if column == 0 else 8]
    assert opposite[2] > 180 > 80 > opposite[0], opposite


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_the_first_picture_of_every_format_is_classified(client: httpx.Client, kind: str) -> None:
    task_id = create(client, ["ring", "ex"]).json()["task_id"]
    other = canvas(CHARACTERS["ex"])
    several = {"save_all": True, "append_images": [other]} if kind in ("PNG", "MPO", "WEBP", "GIF", "TIFF") else {}
    data = heic(RING) if kind == "HEIF" else encoded(RING, kind, **several)
    assert predict(client, task_id, [data])[0]["label"] == "ring"


def tiff_of_many_fields() -> bytes:
    """A TIFF of 1 MB whose 4,000 fields each name all of it."""
    picture = encoded(RING.convert("RGB"), "TIFF") + bytes(1_000_000)
    start = struct.unpack_from("<I", picture, 4)[0]
    count = struct.unpack_from("<H", picture, start)[0]
    own = picture[start + 2 : start + 2 + 12 * count]
    fields = b"".join(struct.pack("<HHII", 40_000 + n, 1, 1_000_000, 8) for n in range(4000))
    ifd = struct.pack("<H", count + 4000) + own + fields + bytes(4)
    return picture[:4] + struct.pack("<I", len(picture)) + picture[8:] + ifd


def exif_of_many_fields() -> bytes:
    fields = b"".join(struct.pack("<HHII", 40_000 + n, 1, 900_000, 8) for n in range(4000))
    return b"II*\0" + struct.pack("<IH", 8, 4000) + fields + bytes(1_000_000)


def webp_of_size(width: int, height: int) -> bytes:
    picture = plain("WEBP")[12:]
    head = webp_chunk(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(picture)) + b"WEBP" + head + picture


def with_sizes(data: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """Change the size that an AVIF's or HEIC's header declares."""
    return data.replace(b"ispe\0\0\0\0" + struct.pack(">II", *old), b"ispe\0\0\0\0" + struct.pack(">II", *new))


def gif_of_size(width: int, height: int) -> bytes:
    gif = encoded(RING, "GIF")
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def rle_bmp(width: int, height: int) -> bytes:
    """A BMP whose rows are all left blank, for which Pillow takes a step a pixel."""
    rows = b"\0\0" * height + b"\0\1"
    palette = bytes(1024)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + info + palette + rows


def tiff_of_tile(side: int) -> bytes:
    """A TIFF of 100x100 pixels in one tile that is far larger."""
    fields = [(256, 100), (257, 100), (258, 8), (259, 5), (262, 1), (277, 1), (322, side), (323, side), (324, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*fields, (325, 1000)])
    data = b"\x80" * 1000
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", 10) + entries + bytes(4)


def test_sizes_are_checked_before_pixels_are_decoded() -> None:
    size = PHOTO.size
    huge = {
        "webp": webp_of_size(16_000, 16_000),
        "gif": gif_of_size(60_000, 60_000),
        "tiff": encoded(RING, "TIFF").replace(*(struct.pack("<HHII", 256, 4, 1, width) for width in (280, 10**7))),
        "tile of a tiff": tiff_of_tile(30_000),
        "avif": with_sizes(plain("AVIF"), size, (16_000, 16_000)),
        "heic": with_sizes(heic(PHOTO), size, (30_000, 30_000)),
        "bmp": rle_bmp(6000, 6000),
    }  # fmt: skip
    for name, data in huge.items():
        said = refusal(data)
        assert "over the limit" in said, (name, said)


def jpeg_of_many_scans() -> bytes:
    """A large JPEG, each of whose 1,000 scans of 75 bytes is a pass over all its pixels."""
    data = encoded(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * 1000 + data[-2:]


def files_of_many_parts() -> dict[str, bytes]:
    png_file, jpeg, gif = plain("PNG"), plain("JPEG"), encoded(PHOTO.convert("P"), "GIF")
    start_of_gif = 13 + (3 << (gif[10] & 7) + 1)  # behind the palette
    return {
        "png of chunks": with_chunks(png_file, chunk(b"abCd", b"") * 200_000),
        "jpeg of segments": jpeg[:2] + segment(0xE5, b"") * 200_000 + jpeg[2:],
        "jpeg of padding": jpeg[:2] + b"\xff" * 200_000 + jpeg[2:],
        "jpeg of scans": jpeg_of_many_scans(),
        "webp of chunks": plain("WEBP") + webp_chunk(b"ABCD", b"") * 200_000,
        "gif of blocks": gif[:start_of_gif] + b"!\xfe" + b"\1a" * 200_000 + b"\0" + gif[start_of_gif:],
        "gif of extensions": gif[:start_of_gif] + b"!\xfe\0" * 200_000 + gif[start_of_gif:],
    }


@pytest.mark.parametrize("name", files_of_many_parts())
def test_a_file_of_very_many_parts_is_refused(name: str) -> None:
    """Their decoders go through the parts one by one, some for hours."""
    assert "far more parts" in refusal(files_of_many_parts()[name])


def test_pixels_that_a_heic_decodes_and_does_not_show_count() -> None:
    data = heic_of_hidden_tiles()
    assert pixels_to_decode(data, 0) > 2048 * 2048
    with pytest.raises(Problem, match="composed of"):
        decode_one(data, 0, PhotoReader(SIDE), 600 * 600)
    tiled = heic(PHOTO, tile_size=64)
    assert photo_input(tiled).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("name", ["tiff", "png", "jpeg", "webp", "avif"])
def test_metadata_that_names_the_same_bytes_many_times_costs_nothing(name: str) -> None:
    """In a process with 1 GB more than it has already."""
    exif = exif_of_many_fields()
    data = {
        "tiff": tiff_of_many_fields,
        "png": lambda: with_chunks(plain("PNG"), chunk(b"eXIf", exif)),
        "jpeg": lambda: plain("JPEG")[:2] + segment(0xE1, b"Exif\0\0" + exif[:60_000]) + plain("JPEG")[20:],
        "webp": lambda: encoded(PHOTO, "WEBP", exif=exif),
        "avif": lambda: encoded(PHOTO, "AVIF", exif=exif),
    }[name]()
    with memory_limit(1 << 30):
        assert photo_input(data).shape == (SIDE, SIDE, 3)


@contextlib.contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Limit what this process may allocate beyond what it holds."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_colour_profile_of_many_tables_holds_nobody_up(client: httpx.Client) -> None:
    profile = of_elements(100_000)  # half an hour for LittleCMS
    pictures = [(name, png_with(profile, canvas(CHARACTERS[name]).convert("RGB"))) for name in FIVE]
    assert all(len(picture) < 10_000 for _, picture in pictures)
    assert create_from(client, pictures, keep_images="true").status_code == 201
