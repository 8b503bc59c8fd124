"""Decodes image files into the model's input in threads, within limits on pixels, bytes and time."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, cast

import numpy as np
from PIL import Image

from app.inference.client import unless_client_leaves
from app.inference.work import Images
from app.observability import metrics
from app.problems import Problem, overloaded
from app.settings import Settings
from app.shared_state import SharedState
from model.images import files, kinds
from model.images.drawings import NoDrawing
from model.images.files import BadPicture
from model.images.reader import Reader
from model.images.small_copy import SmallCopies

PNG, COLOUR_PROFILE = b"\x89PNG\r\n\x1a\n", b"iCCP"
THREADS = 4
IMAGES_PER_CALL = 8  # that one call of a thread decodes
CALLS_AT_ONCE = 2  # of one request, so that other requests' images are decoded between its own
# Images up to this size are decoded on the event loop, since passing them to a thread would take as long.
SMALL_BYTES, SMALL_PIXELS, SMALL_IMAGES = 16_384, 100_000, 20
# Decoding more pixels than this takes hundreds of megabytes, so larger images are decoded one at a time.
LARGE_PIXELS = 4_000_000
# By how much the thread for these is nicer than the others. By more, it is left waiting for a processor while it holds
# the GIL, and the event loop waits with it: beside large pictures 0.1 % of its turns were 120 to 170 ms late at 10, 80
# to 100 ms at 3, and as late at 0, where the large pictures take more from the others.
NICER = 3
SAMPLED_IMAGES = 5  # of a request, to recognise drawings or photos


Read = TypeVar("Read", covariant=True)


class PictureReader(Protocol[Read]):
    """Makes something of pictures: `model.images.reader.Reader`, or small copies."""

    def draft(self, picture: Image.Image) -> None:
        """Have an open JPEG decoded at a fraction of its size, where it still has the pixels that are needed."""

    def __call__(self, picture: Image.Image) -> Read:
        """Read a picture of any mode and size."""


class ImageDecoder:
    """Decodes images in threads, and limits how many bytes wait for them."""

    def __init__(self, settings: Settings, shared_state: SharedState | None = None) -> None:
        self._settings, self._shared_state = settings, shared_state or SharedState()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        # Large images have a thread of their own, so that small ones never wait behind them.
        self._large_pool = ThreadPoolExecutor(1, thread_name_prefix="decode-large", initializer=_lower_priority)
        self._waiting_bytes = 0

    def close(self) -> None:
        """Stop the threads; images that still wait are not decoded."""
        self._pool.shutdown(cancel_futures=True)
        self._large_pool.shutdown(cancel_futures=True)

    async def decode(self, images: Sequence[bytes], read: Reader) -> Images:
        """Image files -> phi's input, [B,R,R] or [B,R,R,3] uint8.

        Raises `Problem` 422 with the index of a bad image; 503 if more than `LEO_QUEUE_BYTES` would wait, or if
        decoding takes longer than `LEO_DECODE_DEADLINE`.
        """
        with metrics.Stage("decode"):
            decoded = self._decode_here(images, read)
            if decoded is None:
                with self._counted(images):
                    decoded = np.stack(await unless_client_leaves(self._decode_in_threads(images, read)))
            return decoded

    async def small_copies(self, images: Sequence[bytes]) -> list[bytes]:
        """Image files -> small copies to keep. Raises as `decode` does."""
        with metrics.Stage("decode"), self._counted(images):
            copies = SmallCopies(self._settings.kept_image_bytes)
            return await unless_client_leaves(self._decode_in_threads(images, copies))

    @contextlib.contextmanager
    def _counted(self, images: Sequence[bytes]) -> Iterator[None]:
        """Count images as waiting for a thread. Raises `Problem` 503 if too many bytes would wait."""
        size = sum(map(len, images))
        if self._waiting_bytes and self._waiting_bytes + size > self._settings.queue_bytes:
            raise overloaded(f"{self._waiting_bytes} bytes of images already wait to be decoded; try again shortly")
        self._waiting_bytes += size
        try:
            yield
        finally:
            self._waiting_bytes -= size

    def _decode_here(self, images: Sequence[bytes], read: Reader) -> Images | None:
        """Decode on the event loop if that takes about a millisecond in all; else return None."""
        if not are_small(images):
            return None
        decoded = [
            decode_one(data, index, read, self._settings.max_image_pixels, SMALL_PIXELS)
            for index, data in enumerate(images)
        ]
        complete = [image for image in decoded if image is not None]
        if len(complete) < len(decoded):  # one has a second header with a larger size
            return None
        self._shared_state.smaller_image_came()
        return complete[0][np.newaxis] if len(complete) == 1 else np.stack(complete)

    async def _decode_in_threads(self, images: Sequence[bytes], read: PictureReader[Read]) -> list[Read]:
        loop, seconds = asyncio.get_running_loop(), self._settings.decode_deadline
        deadline, max_pixels = time.monotonic() + seconds, self._settings.max_image_pixels

        def decode_some(start: int, some: Sequence[bytes], decode_up_to: int = LARGE_PIXELS) -> list[Read | None]:
            decoded = []
            for index, data in enumerate(some, start):
                if time.monotonic() > deadline:  # the request has been answered with 503 by now
                    raise TimeoutError
                decoded.append(decode_one(data, index, read, max_pixels, decode_up_to))
            return decoded

        def decode_large(index: int) -> list[Read | None]:
            # Two large images at a time, beside others, made the others' p99 2.8 times as long as alone; one 2.1 times.
            with self._shared_state.leaving_a_core():
                return decode_some(index, images[index : index + 1], max_pixels)

        decoded: list[Read | None] = [None] * len(images)
        starts = iter(range(0, len(images), IMAGES_PER_CALL))

        async def decode_in_turn() -> None:
            # Not all calls at once: each hands the GIL to a thread, and the event loop would wait for it as often.
            for at in starts:
                some = images[at : at + IMAGES_PER_CALL]
                decoded[at : at + len(some)] = await loop.run_in_executor(self._pool, decode_some, at, some)

        calls = [asyncio.create_task(decode_in_turn()) for _ in range(CALLS_AT_ONCE)]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*calls)
                if any(image is not None for image in decoded):
                    self._shared_state.smaller_image_came()
                for index in [index for index, image in enumerate(decoded) if image is None]:
                    decoded[index : index + 1] = await loop.run_in_executor(self._large_pool, decode_large, index)
                return cast(list[Read], decoded)
        except TimeoutError:
            done = "copied to be kept" if isinstance(read, SmallCopies) else "decoded"
            advice = "send fewer and add the others later, or try again"
            raise overloaded(f"the images were not {done} within {seconds:g} s; {advice}") from None
        finally:
            for call in calls:
                call.cancel()

    async def mostly_drawings(self, images: Sequence[bytes]) -> bool:
        """Whether a sample of the images looks like drawings rather than photos; unreadable ones are skipped."""

        def evidence() -> list[float]:
            of_each = []
            for data in images[:: max(1, len(images) // SAMPLED_IMAGES)][:SAMPLED_IMAGES]:
                with contextlib.suppress(BadPicture):
                    of_image = files.read(
                        data,
                        kinds.drawing_evidence,
                        draft=kinds.draft,
                        max_pixels=self._settings.max_image_pixels,
                        decode_up_to=LARGE_PIXELS,
                    )
                    if of_image is not None:  # larger images are left out, as decoding them takes long
                        of_each.append(of_image)
            return of_each

        return kinds.are_drawings(await asyncio.get_running_loop().run_in_executor(self._pool, evidence))


def _lower_priority() -> None:
    """Give the service's other threads priority over this one, if the system supports that."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICER)


def are_small(images: Sequence[bytes]) -> bool:
    """Whether the images together decode in about a millisecond; only the header of a PNG can tell."""
    if len(images) > SMALL_IMAGES or sum(map(len, images)) > SMALL_BYTES or not all(map(_is_plain_png, images)):
        return False
    sides = [(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) for data in images]
    return sum(width * height for width, height in sides) <= SMALL_PIXELS


def _is_plain_png(data: bytes) -> bool:
    """Whether this is a PNG without a colour profile, of which some take ten milliseconds."""
    return data.startswith(PNG) and COLOUR_PROFILE not in data


def decode_one(
    data: bytes, index: int, read: PictureReader[Read], max_pixels: int, decode_up_to: int = LARGE_PIXELS
) -> Read | None:
    """One image file -> what `read` makes of it, such as phi's input.

    None if more than `decode_up_to` pixels would have to be decoded.

    Raises `Problem` 422 naming the image's index and what is wrong with it.
    """

    def bad(reason: str) -> Problem:
        return Problem(422, f"image {index} {reason}", index=index)

    try:
        return files.read(data, read, draft=read.draft, max_pixels=max_pixels, decode_up_to=decode_up_to)
    except NoDrawing as error:
        raise bad(f"shows no drawing: {error}") from None
    except BadPicture as error:
        raise bad(str(error)) from None
