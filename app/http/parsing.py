"""A request's body, multipart or JSON, to images, labels and options."""

import base64
import binascii
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.http.multipart import Part, parse
from app.http.schemas import AddSupport, CreateTask, PredictImages
from app.problems import Problem, describe_validation_errors
from app.settings import Settings
from app.tasks.limits import check_count, check_lifetime, check_text, check_ways
from app.tasks.options import TaskOptions

Body = TypeVar("Body", bound=BaseModel)


async def read_support(request: Request, settings: Settings) -> tuple[list[bytes], list[str], TaskOptions]:
    """Images, their labels and the options of a `POST /tasks`, multipart or JSON. Raises `Problem`."""
    images, labels, given = await _read_examples(request, settings, CreateTask)
    options = TaskOptions.model_validate(given)
    check_ways(labels, settings)
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
    check_count(images, settings)
    for label in labels:
        check_text(label, "label", settings)
    return images, labels, options


async def read_queries(request: Request, settings: Settings) -> list[bytes]:
    """Images of a `POST /tasks/{id}/predict`, multipart or JSON. Raises `Problem`."""
    if _is_json(request):
        body = _json(PredictImages, await request.body())
        images = [_base64(image, index) for index, image in enumerate(body.images)]
    else:
        images = _files(await _form(request, settings))
    check_count(images, settings)
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
