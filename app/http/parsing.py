"""From a request's body to images the model takes: parsing, then limits, then decoding off the loop."""

import asyncio
import base64
import binascii
import contextlib
import io
import os
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ValidationError

from app.http.multipart import Part, parse
from app.http.schemas import AddSupport, CreateTask, PredictImages, TaskLifetime, TaskOptions
from app.problems import Problem, describe_validation_errors, overloaded
from app.settings import Settings
from model.images import kinds
from model.images.drawings import NoDrawing
from model.images.reader import Reader

FORMATS = ("PNG", "JPEG", "WEBP")
LOOKED_AT = 5  # of a request's pictures, to tell drawings from photos
Body = TypeVar("Body", bound=BaseModel)

# Pillow warns of large images; our own limit, read from the header, has already been applied.
Image.MAX_IMAGE_PIXELS = None
# Nor does odd metadata matter: the pixels decide.
warnings.filterwarnings("ignore", module="PIL")


# -- parsing ---------------------------------------------------------------------------------


async def read_support(request: Request, settings: Settings) -> tuple[list[bytes], list[str], TaskOptions]:
    """Images, their labels and the options of a `POST /tasks`, multipart or JSON. Raises `Problem`."""
    images, labels, given = await _read_examples(request, settings, CreateTask)
    options = TaskOptions.model_validate(given)
    _check_ways(labels, settings)
    check_lifetime(options, settings)
    return images, labels, options


async def read_more_support(request: Request, settings: Settings) -> tuple[list[bytes], list[str]]:
    """Images and labels of a `POST /tasks/{id}/support`, multipart or JSON. Raises `Problem`."""
    images, labels, _ = await _read_examples(request, settings, AddSupport)
    return images, labels


async def _read_examples(
    request: Request, settings: Settings, schema: type[CreateTask] | type[AddSupport]
) -> tuple[list[bytes], list[str], dict[str, Any]]:
    """Images, their labels, and whatever else the schema has."""
    if _is_json(request):
        body = _json(schema, await request.body())
        images = [_base64(example.image, index) for index, example in enumerate(body.support)]
        labels = [example.label for example in body.support]
        options = body.model_dump(exclude={"support"})
    else:
        form = await _form(request, settings)
        images = _files(form)
        labels = [part.text for part in form if part.name == "labels" and not part.is_file]
        options = _options(form, schema)
        if len(labels) != len(images):
            raise Problem(
                422, f"{len(images)} images but {len(labels)} labels: send one label for each image, in the same order"
            )
    _check_count(images, settings)
    for label in labels:
        _check_text(label, "label", settings)
    return images, labels, options


def check_lifetime(options: TaskLifetime, settings: Settings) -> None:
    """Raises `Problem` for a name or time to live that may not be."""
    if options.name is not None:
        _check_text(options.name, "name", settings)
    if options.ttl_seconds is not None and options.ttl_seconds > settings.max_ttl_seconds:
        raise Problem(422, f"ttl_seconds may be at most {settings.max_ttl_seconds}")


async def read_queries(request: Request, settings: Settings) -> list[bytes]:
    """Images of a `POST /tasks/{id}/predict`, multipart or JSON. Raises `Problem`."""
    if _is_json(request):
        body = _json(PredictImages, await request.body())
        images = [_base64(image, index) for index, image in enumerate(body.images)]
    else:
        images = _files(await _form(request, settings))
    _check_count(images, settings)
    return images


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", "multipart/form-data"):
        return kind == "application/json"
    raise Problem(415, f"content type {kind or 'missing'}: send multipart/form-data or application/json")


def _json(schema: type[Body], body: bytes) -> Body:
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise Problem(422, describe_validation_errors(error.errors(include_url=False, include_input=False))) from None


def _base64(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(422, f"image {index} is not base64", index=index) from None


async def _form(request: Request, settings: Settings) -> list[Part]:
    # A label beside each image, and a few options; a text needs at most four bytes a character.
    return parse(
        await request.body(),
        request.headers["content-type"],
        max_files=settings.max_images,
        max_fields=settings.max_images + 10,
        max_field_bytes=max(1024, 4 * settings.max_label_length + 1),
    )


def _files(form: list[Part]) -> list[bytes]:
    images = [part for part in form if part.name == "images"]
    for index, part in enumerate(images):
        if not part.is_file:
            raise Problem(
                422, f"image {index} was sent as text; send it as a file (curl: -F images=@a.png)", index=index
            )
    return [part.data for part in images]


def _options(form: list[Part], schema: type[CreateTask] | type[AddSupport]) -> dict[str, Any]:
    """The other fields of a form, checked by the schema that JSON is checked by."""
    names = [name for name in schema.model_fields if name != "support"]
    others = [part for part in form if part.name not in ("images", "labels")]
    unknown = {part.name for part in others} - set(names)
    if unknown:
        raise Problem(422, f"unknown field {min(unknown)!r}; there are {', '.join(['images', 'labels', *names])}")
    given = {part.name: None if part.is_file else part.text for part in others}
    try:
        return schema.model_validate(given | {"support": []}).model_dump(exclude={"support"})
    except ValidationError as error:
        raise Problem(422, describe_validation_errors(error.errors(include_url=False, include_input=False))) from None


# -- limits ----------------------------------------------------------------------------------


def _check_count(images: Sequence[bytes], settings: Settings) -> None:
    if not images:
        raise Problem(422, "no images: send at least one in the field 'images' (JSON: 'support' or 'images')")
    if len(images) > settings.max_images:
        raise Problem(422, f"{len(images)} images, but one request may hold {settings.max_images}")


def _check_ways(labels: Sequence[str], settings: Settings) -> None:
    ways = len(set(labels))
    if ways < 2:
        raise Problem(422, f"a task needs at least 2 classes, this one has {ways}")
    if ways > settings.max_ways:
        raise Problem(422, f"{ways} classes, but a task may have {settings.max_ways}")


def _check_text(text: str, what: str, settings: Settings) -> None:
    if not text.strip():
        raise Problem(422, f"a {what} is empty")
    if len(text) > settings.max_label_length:
        raise Problem(422, f"a {what} has {len(text)} characters, at most {settings.max_label_length} are allowed")
    if not text.isprintable():
        raise Problem(422, f"a {what} holds control characters")


# -- decoding --------------------------------------------------------------------------------

LARGE = 4_000_000  # pixels to decode; such images, hundreds of megabytes meanwhile, go one at a time


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
