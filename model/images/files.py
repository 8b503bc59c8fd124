"""Reads image files: their format, their size before their pixels, their first picture, and what is wrong with them.

Every file that anybody gives is read here, so that a picture is the same for the service, the command line and
training. Files may be hostile. Only the formats of `model.images.formats` are opened, each by its own decoder, in one
thread, after everything but the picture has been stripped off.
"""

import contextlib
import ctypes
import functools
import io
import logging
import struct
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

from PIL import AvifImagePlugin, Image, TiffImagePlugin, _imaging, features

from model.images import jpeg_end
from model.images.drawings import NoDrawing
from model.images.formats import NAMES, format_of
from model.images.heif_boxes import pixels_to_decode
from model.images.stripping import TooManyParts, strip

MAX_PIXELS = 50_000_000
# Pillow decodes run-length encoded BMPs in Python, a pixel or a byte at a time.
MAX_RUN_LENGTH_PIXELS = 1_000_000
# A tile of a TIFF is decoded whole, even if it is far larger than the picture.
MAX_TILE_PIXELS = 4_000_000
TILE_WIDTH, TILE_HEIGHT = 322, 323
# A HEIC or AVIF of tiles takes the pixels of the whole and those of the tiles, which are a little larger.
MAX_COMPOSED = 3
# Libtiff knows more compressions, each with a decoder of its own.
TIFF_COMPRESSIONS = {"raw", "packbits", "jpeg", "group3", "group4", "tiff_ccitt", "tiff_lzw", "tiff_deflate"}
TIFF_COMPRESSIONS |= {"tiff_adobe_deflate"}

# No limit by Pillow: `read` checks the header against its own limit first.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata, which does not matter here, and logs what is wrong with a file.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded in parallel already
# Libtiff writes what is wrong with a file to stderr.
with contextlib.suppress(AttributeError, OSError):  # Pillow may be built without it
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

Result = TypeVar("Result")


class BadPicture(ValueError):
    """A file that cannot be read as a picture. It says why and what to do, as the end of a sentence about the file."""


def read(
    data: bytes,
    use: Callable[[Image.Image], Result],
    *,
    draft: Callable[[Image.Image], object] | None = None,
    max_pixels: int = MAX_PIXELS,
    decode_up_to: int | None = None,
) -> Result | None:
    """Open the first picture of an image file, and return what `use` makes of it.

    Args:
        data: the file.
        use: takes the picture, whose pixels are not decoded before it asks for them.
        draft: tells a JPEG's decoder how small the picture may be.
        max_pixels: a picture whose header declares more is refused.
        decode_up_to: if more pixels than this would have to be decoded, nothing is, and None is returned.

    Raises:
        BadPicture: the file is no picture, is broken, or is too large.
        NoDrawing: raised by `use`.
    """
    if not data:
        raise BadPicture("is empty (0 bytes)")
    kind = format_of(data)
    if kind is None:
        raise BadPicture(f"is not a {NAMES} image; convert it to one of these")
    try:
        data = strip(data, kind)
        with _open(data, kind, max_pixels) as picture:
            full_size = picture.width * picture.height
            if draft:
                draft(picture)
            if decode_up_to is not None and picture.width * picture.height > decode_up_to:
                return None
            if kind != "JPEG" or jpeg_end.has_end(data):
                return use(picture)
        if decode_up_to is not None and full_size > decode_up_to:
            return None
        whole = jpeg_end.ended(data)
        if whole is None:
            raise BadPicture("is damaged or truncated (pixels are missing); send the whole file")
        with _open(whole, kind, max_pixels) as picture:
            if draft:
                draft(picture)
            return use(picture)
    except (BadPicture, NoDrawing):
        raise
    except TooManyParts:
        raise BadPicture("has far more parts than any program writes; open it in one and save it anew") from None
    except MemoryError:
        raise BadPicture("takes more memory to decode than there is; send it smaller") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... for broken files
        if _is_mistake(error):
            raise
        raise BadPicture("is damaged or truncated; send the whole file") from None


def _is_mistake(error: Exception) -> bool:
    """Whether the fault is this package's own: nobody could mend it by sending another file."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, TypeError | AttributeError | NameError) and frame.f_globals["__name__"].startswith(
        "model."
    )


def _open(data: bytes, kind: str, max_pixels: int) -> Image.Image:
    """Open a file of this format; no pixels are decoded yet. Raises `BadPicture`, or what the decoder raises."""
    if kind == "WEBP":
        _check_size(_webp_size(data), max_pixels)  # its decoder makes room for all pixels at once
    if kind == "HEIF":
        register_heif()
    elif kind == "AVIF" and not features.check("avif"):
        raise BadPicture("is an AVIF image, which this build of Pillow cannot read; convert it to PNG")
    picture = Image.open(io.BytesIO(data), formats=[kind])
    _check_size(picture.size, max_pixels)
    if kind in ("AVIF", "HEIF") and pixels_to_decode(data, max_pixels) > MAX_COMPOSED * max_pixels:
        raise BadPicture(f"is composed of images of far more than {max_pixels} pixels; save it as PNG")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        if picture.info.get("compression") not in TIFF_COMPRESSIONS:
            raise BadPicture("is a TIFF of a rare compression; save it as PNG")
        tile = picture.tag_v2.get(TILE_WIDTH, 0), picture.tag_v2.get(TILE_HEIGHT, 0)
        _check_size(tile, max(MAX_TILE_PIXELS, picture.width * picture.height))
    if kind == "BMP" and picture.tile[0].codec_name == "bmp_rle":
        _check_size(picture.size, MAX_RUN_LENGTH_PIXELS)
    return picture


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadPicture(f"is {width}x{height}, over the limit of {max_pixels} pixels; send it smaller")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The size that a WEBP declares. Raises `struct.error` where the header ends early."""
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width, height


@functools.cache
def register_heif() -> None:
    """Let Pillow open HEIC. The thumbnails in it are not used: nothing proves that they show the same picture."""
    try:
        import pillow_heif
    except ImportError:
        raise BadPicture("is a HEIC image, which needs the package pillow-heif; convert it to JPEG") from None
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
