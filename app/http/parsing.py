"""Parses a request's body, multipart or JSON, into images, labels and options."""

import asyncio
import base64
import codecs
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.http import body_hints, zips
from app.http.multipart import Part, parse
from app.http.schemas import CreateTask, Feedback, LabelledImages, PredictImages, RelabelExample
from app.problems import Problem, describe_validation_errors
from app.settings import Settings
from app.tasks.changing import Judgement
from app.tasks.limits import check_image_count
from app.tasks.options import TaskOptions, UpdateTask
from app.tasks.zip_files import ZIP

# What is parsed on the event loop at most: so many bytes take 0.6 ms (8 MB 49 ms), so many parts 0.7 ms (2,000 7 ms).
LARGE_BODY, MANY_PARTS = 2**18, 200

DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)
ARCHIVE = "archive"  # the field of a form that holds a zip
FROM_URL_ALPHABET, SPACES = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"

Body = TypeVar("Body", bound=BaseModel)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Pictures:
    """The images of a request, and their names if they came in a zip."""

    images: list[bytes]
    names: list[str] | None = None

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Name the picture in problems with one of these images, whose number says nothing to whoever sent a zip."""
        try:
            yield
        except Problem as problem:
            index = problem.extra.get("index")
            if self.names is None or index is None:
                raise
            file = self.names[index]
            problem.extra["file"] = file
            problem.detail = f"{file[:200]}: {problem.detail}"
            raise


@dataclass(frozen=True)
class Examples(Pictures):
    """Labelled images, and the other fields of the request's schema."""

    labels: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


async def read_support(request: Request, settings: Settings) -> tuple[Examples, TaskOptions]:
    """Read the images, labels and options of `POST /tasks`. Raises `Problem` 413, 415 or 422."""
    options = _options_beside_zip(request)
    examples = await _read(request, _examples, settings, CreateTask, options)
    return examples, TaskOptions.model_validate(examples.options)


async def read_labelled(request: Request, settings: Settings) -> Examples:
    """Read the images and labels of `POST /tasks/{id}/support`. Raises `Problem` 413, 415 or 422."""
    return await _read(request, _examples, settings, LabelledImages, _options_beside_zip(request))


async def read_queries(request: Request, settings: Settings) -> Pictures:
    """Read the images of `POST /tasks/{id}/predict`. Raises `Problem` 413, 415 or 422."""
    return await _read(request, _queries, settings)


async def read_changes(request: Request, settings: Settings) -> UpdateTask:
    """Read the body of `PATCH /tasks/{id}`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    return await _read(request, _changes, settings, UpdateTask)


async def read_feedback(request: Request, settings: Settings) -> list[Judgement]:
    """Read the body of `POST /tasks/{id}/feedback`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    return await _read(request, _feedback, settings)


async def read_label(request: Request, settings: Settings) -> str:
    """Read the body of `PATCH /tasks/{id}/support/{n}`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    change: RelabelExample = await _read(request, _changes, settings, RelabelExample)
    return change.label


async def read_file(request: Request) -> bytes:
    """Read a body that is one file. Raises `Problem` 413 or 415."""
    body = await request.body()
    if problem := body_hints.encoding_problem(request.headers, body):
        raise problem
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Problem(415, "a form is not read here: send the file itself as the body (curl: --data-binary @FILE)")
    return body


def _check_no_query(request: Request) -> None:
    """Refuse options after the question mark, where the call takes them in its body. Raises `Problem` 422."""
    if request.scope["query_string"]:
        name = next(iter(request.query_params), "")
        raise Problem(422, f"query.{name[:100]}: this call takes its options as fields of the body; send it there")


def _options_beside_zip(request: Request) -> dict[str, str]:
    """The options after the question mark, if the body is a zip, which has no room for them. Raises `Problem` 422."""
    if _kind(request.headers.get("content-type", "")) not in zips.KINDS:
        _check_no_query(request)
    return query_options(request)


def query_options(request: Request) -> dict[str, str]:
    """The options after the question mark, by their names. Raises `Problem` 422 for one that stands there twice."""
    options = dict(request.query_params)
    if len(options) < len(request.query_params.multi_items()):
        repeated = next(name for name in options if len(request.query_params.getlist(name)) > 1)
        raise Problem(422, f"query.{repeated[:100]} is given more than once; give it once")
    return options


async def _read(request: Request, parse_body: Callable[..., Parsed], *arguments: Any) -> Parsed:
    """Read and parse a request's body, in a thread if it is large, a form of many parts, or holds a zip."""
    content_type, body = request.headers.get("content-type", ""), await request.body()
    try:
        if len(body) <= LARGE_BODY and body.count(b"\n--") <= MANY_PARTS and ZIP not in body:
            return parse_body(content_type, body, *arguments)
        return await asyncio.to_thread(parse_body, content_type, body, *arguments)
    except Problem as problem:
        raise body_hints.encoding_problem(request.headers, body) or problem from None


def _examples(
    content_type: str,
    body: bytes,
    settings: Settings,
    schema: type[CreateTask] | type[LabelledImages],
    beside_zip: dict[str, str],
) -> Examples:
    if _kind(content_type) in zips.KINDS:
        options = _checked_options(beside_zip, schema)
        images, labels, names = zips.read_labelled(body, settings)
        return Examples(images, names, labels, options)
    if _is_json(content_type, body):
        parsed = _json(schema, body, settings)
        images = [_base64(example.image, index) for index, example in enumerate(parsed.support)]
        check_image_count(images, settings)
        labels = [example.label for example in parsed.support]
        options = parsed.model_dump(exclude={"support"})
    else:
        form = _form(content_type, body, settings)
        options = _options(form, schema)
        if (archive := _archive(form)) is not None:
            images, labels, names = zips.read_labelled(archive, settings)
            return Examples(images, names, labels, options)
        images = _files(form)
        check_image_count(images, settings)
        label_parts = [part for part in form if part.name == "labels"]
        labels = [part.text for part in label_parts if not part.is_file]
        if len(labels) != len(images):
            raise body_hints.label_count_problem(len(images), labels, len(label_parts) > len(labels))
    return Examples(images, None, labels, options)


def _queries(content_type: str, body: bytes, settings: Settings) -> Pictures:
    if _kind(content_type) in zips.KINDS:
        return Pictures(*zips.read_pictures(body, settings))
    if _is_json(content_type, body):
        images = [_base64(image, index) for index, image in enumerate(_json(PredictImages, body, settings).images)]
    else:
        form = _form(content_type, body, settings)
        if unknown := next((part.name for part in form if part.name not in ("images", ARCHIVE)), None):
            raise body_hints.unknown_field(unknown, ["images", ARCHIVE])
        if (archive := _archive(form)) is not None:
            return Pictures(*zips.read_pictures(archive, settings))
        images = _files(form)
    check_image_count(images, settings)
    return Pictures(images)


def _feedback(content_type: str, body: bytes, settings: Settings) -> list[Judgement]:
    if _is_json(content_type, body):
        answers = _json(Feedback, body, settings).answers
        judgements = [
            Judgement(each.predicted, each.label, None if each.image is None else _base64(each.image, index))
            for index, each in enumerate(answers)
        ]
    else:
        form = _form(content_type, body, settings, fields_an_image=2)
        if unknown := next((part.name for part in form if part.name not in ("images", "labels", "predicted")), None):
            raise body_hints.unknown_field(unknown, ["predicted", "labels", "images"])
        predicted, labels = (
            [part.text for part in form if part.name == name and not part.is_file] for name in ("predicted", "labels")
        )
        images = _files(form)
        if len(predicted) != len(labels) or (images and len(images) != len(labels)):
            raise Problem(
                422,
                f"{len(predicted)} predicted, {len(labels)} labels and {len(images)} images: send one of each for each "
                "answer, in the same order, or no images at all",
            )
        pictures: list[bytes | None] = [*images] or [None] * len(labels)
        judgements = list(map(Judgement, predicted, labels, pictures))
    if not judgements:
        raise Problem(422, "no answers: send at least one, with what was predicted and the right label")
    if len(judgements) > settings.max_images:
        raise Problem(422, f"{len(judgements)} answers, but one request may hold {settings.max_images}")
    return judgements


def _changes(content_type: str, body: bytes, settings: Settings, schema: type[Body]) -> Body:
    if _kind(content_type) != "application/json":
        raise Problem(415, "a change is sent as JSON, with Content-Type: application/json")
    return _json(schema, body, settings)


def _is_json(content_type: str, body: bytes) -> bool:
    kind = _kind(content_type)
    if kind in ("application/json", "multipart/form-data"):
        return kind == "application/json"
    raise body_hints.kind_problem(kind, body)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _json(schema: type[Body], body: bytes, settings: Settings) -> Body:
    # Millions of values would take seconds and gigabytes. Base64 holds no comma, a data URL one, a label at most all of
    # its characters.
    if body.count(b",") > settings.max_images * (settings.max_label_length + 4) + 100:
        raise Problem(422, f"the JSON holds too many values: send at most {settings.max_images} images")
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        if body.startswith(codecs.BOM_UTF8):
            return _json(schema, body.removeprefix(codecs.BOM_UTF8), settings)
        raise body_hints.json_problem(schema, body, error) from None


def _base64(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return _loose_base64(text, index)


def _loose_base64(text: str, index: int) -> bytes:
    """Decode base64 as a data URL, in lines, with the alphabet for URLs, or without padding. Raises `Problem` 422."""
    prefix = DATA_URL.match(text)
    payload = text[prefix.end() :] if prefix else text
    try:
        digits = payload.encode("ascii").translate(FROM_URL_ALPHABET, SPACES).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise body_hints.base64_problem(payload, index) from None


def _form(content_type: str, body: bytes, settings: Settings, fields_an_image: int = 1) -> list[Part]:
    # Fields are a label for each image and a few options. UTF-8 takes at most four bytes a character.
    return parse(
        body,
        content_type,
        max_files=settings.max_images,
        max_fields=fields_an_image * settings.max_images + 10,
        max_field_bytes=max(1024, 4 * settings.max_label_length + 1),
    )


def _files(form: list[Part]) -> list[bytes]:
    images = [part for part in form if part.name == "images"]
    for index, part in enumerate(images):
        if not part.is_file:
            raise Problem(
                422, f"image {index} was sent as text; send it as a file (curl: -F images=@a.png)", index=index
            )
        if part.data.startswith(ZIP):
            raise Problem(422, f"image {index} is a zip: send it in the field {ARCHIVE!r}", index=index)
    return [part.data for part in images]


def _archive(form: list[Part]) -> bytes | None:
    """The zip in a form, or None. Raises `Problem` 422 where there is anything beside it that it stands for."""
    archives = [part for part in form if part.name == ARCHIVE]
    if not archives:
        return None
    if len(archives) > 1 or any(part.name in ("images", "labels") for part in form):
        raise Problem(422, f"send one zip in the field {ARCHIVE!r}, and no 'images' and 'labels' beside it")
    if not archives[0].is_file:
        raise Problem(422, f"{ARCHIVE} was sent as text; send it as a file (curl: -F {ARCHIVE}=@pictures.zip)")
    return archives[0].data


def _options(form: list[Part], schema: type[CreateTask] | type[LabelledImages]) -> dict[str, Any]:
    """The other fields of a form, checked by the schema that also checks JSON bodies. Raises `Problem` 422."""
    names = [name for name in schema.model_fields if name != "support"]
    others = [part for part in form if part.name not in ("images", "labels", ARCHIVE)]
    unknown = {part.name for part in others} - set(names)
    if unknown:
        raise body_hints.unknown_field(min(unknown), ["images", "labels", ARCHIVE, *names])
    if len(fields := Counter(part.name for part in others)) < len(others):
        raise Problem(422, f"field {fields.most_common(1)[0][0]!r} was sent more than once; send it once")
    return _checked_options({part.name: None if part.is_file else part.text for part in others}, schema)


def _checked_options(
    values: Mapping[str, str | None], schema: type[CreateTask] | type[LabelledImages]
) -> dict[str, Any]:
    """Check options that are no JSON by the schema that also checks JSON bodies. Raises `Problem` 422."""
    try:
        return schema.model_validate({**values, "support": []}).model_dump(exclude={"support"})
    except ValidationError as error:
        raise Problem(422, describe_validation_errors(error.errors(include_url=False, include_input=False))) from None
