"""A request's body, multipart or JSON, to images, labels and options."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.http.multipart import Part, parse
from app.http.schemas import AddSupport, CreateTask, PredictImages
from app.problems import Problem, describe_validation_errors
from app.settings import Settings
from app.tasks.limits import check_image_count
from app.tasks.options import TaskOptions

LARGE_BODY = 2**18  # bytes; parsing more takes over a millisecond, and does not belong on the event loop

Body = TypeVar("Body", bound=BaseModel)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Examples:
    """Labelled images, and whatever else the request's schema has."""

    images: list[bytes]
    labels: list[str]
    options: dict[str, Any]


async def read_support(request: Request, settings: Settings) -> tuple[list[bytes], list[str], TaskOptions]:
    """Images, their labels and the options of a `POST /tasks`. Raises `Problem`."""
    examples = await _read(request, _examples, settings, CreateTask)
    return examples.images, examples.labels, TaskOptions.model_validate(examples.options)


async def read_more_support(request: Request, settings: Settings) -> tuple[list[bytes], list[str]]:
    """Images and labels of a `POST /tasks/{id}/support`. Raises `Problem`."""
    examples = await _read(request, _examples, settings, AddSupport)
    return examples.images, examples.labels


async def read_queries(request: Request, settings: Settings) -> list[bytes]:
    """Images of a `POST /tasks/{id}/predict`. Raises `Problem`."""
    return await _read(request, _queries, settings)


async def _read(request: Request, parse_body: Callable[..., Parsed], *arguments: Any) -> Parsed:
    """Parse a request's body, in a thread if it is large."""
    content_type, body = request.headers.get("content-type", ""), await request.body()
    if len(body) <= LARGE_BODY:
        return parse_body(content_type, body, *arguments)
    return await asyncio.to_thread(parse_body, content_type, body, *arguments)


def _examples(
    content_type: str, body: bytes, settings: Settings, schema: type[CreateTask] | type[AddSupport]
) -> Examples:
    if _is_json(content_type):
        given = _json(schema, body)
        images = [_base64(example.image, index) for index, example in enumerate(given.support)]
        labels = [example.label for example in given.support]
        options = given.model_dump(exclude={"support"})
    else:
        form = _form(content_type, body, settings)
        images = _files(form)
        labels = [part.text for part in form if part.name == "labels" and not part.is_file]
        options = _options(form, schema)
        if len(labels) != len(images):
            raise Problem(
                422, f"{len(images)} images but {len(labels)} labels: send one label for each image, in the same order"
            )
    check_image_count(images, settings)
    return Examples(images, labels, options)


def _queries(content_type: str, body: bytes, settings: Settings) -> list[bytes]:
    if _is_json(content_type):
        images = [_base64(image, index) for index, image in enumerate(_json(PredictImages, body).images)]
    else:
        images = _files(_form(content_type, body, settings))
    check_image_count(images, settings)
    return images


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
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


def _form(content_type: str, body: bytes, settings: Settings) -> list[Part]:
    # A label beside each image, and a few options; a text needs at most four bytes a character.
    return parse(
        body,
        content_type,
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
    """The other fields of a form, checked by the schema that checks JSON."""
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
