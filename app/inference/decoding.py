"""Image files to what the model takes, off the event loop, within bounds of pixels and time."""

import asyncio
import contextlib
import io
import os
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.problems import Problem, overloaded
from app.settings import Settings
from model.images import kinds
from model.images.drawings import NoDrawing
from model.images.reader import Reader

FORMATS = ("PNG", "JPEG", "WEBP")
LOOKED_AT = 5  # of a request's pictures, to tell drawings from photos
LARGE = 4_000_000  # pixels to decode; such images, hundreds of megabytes meanwhile, go one at a time

# Pillow warns of large images; our own limit, read from the header, has already been applied.
Image.MAX_IMAGE_PIXELS = None
# Nor does odd metadata matter: the pixels decide.
warnings.filterwarnings("ignore", module="PIL")


def _yield_to_others() -> None:
    """Let this thread have what processor time the others leave; where the system has no such thing, go on."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


# A lane of their own, so that nobody's small image ever waits behind them.
_large_lane = ThreadPoolExecutor(1, thread_name_prefix="decode-large", initializer=_yield_to_others)


# Pictures so small are decoded on the event loop: to send them to another thread and back takes as long.
SMALL_BYTES, SMALL_PIXELS = 16_384, 100_000


PNG = b"\x89PNG\r\n\x1a\n"


def decode_quickly(images: Sequence[bytes]) -> bool:
    """Whether all of them together are decoded in a millisecond or so, whatever they hold: PNG alone says its size."""
    if sum(map(len, images)) > SMALL_BYTES or not all(data.startswith(PNG) for data in images):
        return False
    sides = [(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) for data in images]
    return sum(width * height for width, height in sides) <= SMALL_PIXELS


async def decode(images: Sequence[bytes], read: Reader, settings: Settings, pool: Executor) -> NDArray[np.uint8]:
    """Image files -> phi's input [B,R,R] or [B,R,R,3], in the pool unless they are small.

    Raises `Problem`: 422 with the index of a bad one, 503 where all of them take longer than they may.
    """
    if decode_quickly(images):
        few = [decode_one(data, at, read, settings.max_image_pixels, SMALL_PIXELS) for at, data in enumerate(images)]
        decoded = [image for image in few if image is not None]
        if len(decoded) == len(few):  # else one lied: its second header counts
            return decoded[0][np.newaxis] if len(decoded) == 1 else np.stack(decoded)
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + settings.decode_deadline
    most = settings.max_image_pixels

    def several(start: int, part: Sequence[bytes], up_to: int = LARGE) -> list[NDArray[np.uint8] | None]:
        decoded = []
        for index, data in enumerate(part, start):
            if time.monotonic() > deadline:  # nobody waits for the rest
                raise TimeoutError
            decoded.append(decode_one(data, index, read, most, up_to))
        return decoded

    # One hop to the pool for a few images, several hops when there are many.
    size = 8
    parts = [loop.run_in_executor(pool, several, at, images[at : at + size]) for at in range(0, len(images), size)]
    try:
        async with asyncio.timeout(settings.decode_deadline):
            pictures = [image for part in await asyncio.gather(*parts) for image in part]
            for index in [index for index, image in enumerate(pictures) if image is None]:
                parts.append(loop.run_in_executor(_large_lane, several, index, images[index : index + 1], most))
                pictures[index : index + 1] = await parts[-1]
            return np.stack(cast(list[NDArray[np.uint8]], pictures))
    except TimeoutError:
        raise overloaded(
            f"the images were not decoded within {settings.decode_deadline:g} s; send fewer, or try again"
        ) from None
    finally:
        for future in parts:
            future.cancel()


async def mostly_drawings(images: Sequence[bytes], pool: Executor) -> bool:
    """Whether most of some of the pictures look like drawings, not photos; those that cannot be read do not count."""

    def votes() -> list[bool]:
        found = []
        for data in images[:: max(1, len(images) // LOOKED_AT)][:LOOKED_AT]:
            with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                picture.draft(picture.mode, (kinds.SIDE, kinds.SIDE))
                if picture.width * picture.height <= LARGE:  # more takes its turn in decoding, or is refused there
                    found.append(kinds.looks_like_drawing(picture))
        return found

    drawn = await asyncio.get_running_loop().run_in_executor(pool, votes)
    return 2 * sum(drawn) >= len(drawn)


def decode_one(
    data: bytes, index: int, read: Reader, max_pixels: int, up_to: int | None = None
) -> NDArray[np.uint8] | None:
    """One image file -> phi's input, uint8; None where more than `up_to` pixels would be decoded for it.

    Raises `Problem` 422 naming what is wrong.
    """

    def bad(reason: str) -> Problem:
        return Problem(422, f"image {index} {reason}", index=index)

    if not data:
        raise bad("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise bad(f"is {width}x{height}, over the limit of {max_pixels} pixels; send it smaller")
            read.draft(picture)
            if up_to is not None and picture.width * picture.height > up_to:
                return None
            return read(picture)
    except UnidentifiedImageError:
        raise bad("is not a PNG, JPEG or WEBP image") from None
    except NoDrawing as error:
        raise bad(f"shows no drawing: {error}") from None
    except Problem:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for broken files
        raise bad(f"is damaged or truncated ({type(error).__name__}); send the whole file") from None
