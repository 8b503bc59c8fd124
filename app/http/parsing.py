"""Parses a request's body, multipart or JSON, into images, labels and options."""

import asyncio
import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from app.http import body_hints, zips
from app.http.bodies import AddExamples, CreateTask, Feedback, LabelledImages, PredictImages, RelabelExample
from app.http.fetching import Fetcher
from app.http.forms import (
    ARCHIVE,
    IMAGES_OF_JSON,
    AnyExamples,
    archive_of,
    check_options,
    files_of,
    options_of,
    read_form,
    texts_of,
)
from app.http.json_images import read_images
from app.http.middleware.admission import PERMIT
from app.http.turns import Permit
from app.inference.client import unless_client_leaves
from app.observability import metrics
from app.problems import Problem
from app.settings import Settings
from app.tasks.changes import Judgement
from app.tasks.limits import check_image_count, numbering_negatives
from app.tasks.options import TaskOptions, UpdateTask
from app.tasks.zip_files import ZIP
from model.data.classes import NEGATIVES, is_of_negatives
from model.data.sources import shown

# What is parsed on the event loop at most: so many bytes take 0.6 ms (8 MB 49 ms), so many parts 0.7 ms (2,000 7 ms).
LARGE_BODY, MANY_PARTS = 2**18, 200

Body = TypeVar("Body", bound=BaseModel)
Parsed = TypeVar("Parsed")
AnyPictures = TypeVar("AnyPictures", bound="Pictures")


@dataclass(frozen=True)
class Pictures:
    """The images of a request, and their names if they came in a zip."""

    images: list[bytes]
    names: list[str] | None = None
    urls: dict[int, str] = field(default_factory=dict)  # of images that are still to be fetched; these are empty

    def named(self) -> AbstractContextManager[None]:
        """Name the picture in problems with one of these images, whose number says nothing to whoever sent a zip."""
        return nullcontext() if self.names is None else _named(self.names)


@dataclass(frozen=True)
class Examples(Pictures):
    """Labelled images, perhaps negatives after them, and the other fields of the request's schema."""

    labels: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def labelled(self) -> list[bytes]:
        """The images that the labels are of."""
        return self.images[: len(self.labels)]

    @property
    def negatives(self) -> list[bytes]:
        """Images of what is none of the classes."""
        return self.images[len(self.labels) :]


@contextmanager
def _named(names: list[str]) -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        index = problem.extra.get("index")
        if index is not None:
            file = names[index]
            problem.extra["file"] = file
            problem.detail = f"{shown(file[:200])}: {problem.detail}"
        raise


async def read_support(request: Request, settings: Settings) -> tuple[Examples, TaskOptions]:
    """Read the images, labels and options of `POST /tasks`. Raises `Problem` 413, 415 or 422."""
    examples = await _read_examples(request, settings, CreateTask)
    return examples, TaskOptions.model_validate(examples.options)


async def read_additions(request: Request, settings: Settings) -> Examples:
    """Read the images and labels of `POST /tasks/{id}/support`. Raises `Problem` 413, 415 or 422."""
    return await _read_examples(request, settings, AddExamples)


async def read_labelled(request: Request, settings: Settings) -> Examples:
    """Read the images and labels of `POST /tasks/{id}/evaluate`. Raises `Problem` 413, 415 or 422."""
    return await _read_examples(request, settings, LabelledImages)


async def _read_examples(request: Request, settings: Settings, schema: AnyExamples) -> Examples:
    examples = await _read(request, _examples, settings, schema, _options_beside_zip(request))
    return await _complete(request, examples)


async def read_queries(request: Request, settings: Settings) -> Pictures:
    """Read the images of `POST /tasks/{id}/predict`. Raises `Problem` 413, 415 or 422."""
    return await _complete(request, await _read(request, _queries, settings))


async def read_changes(request: Request, settings: Settings) -> UpdateTask:
    """Read the body of `PATCH /tasks/{id}`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    return await _read(request, _changes, settings, UpdateTask)


async def read_feedback(request: Request, settings: Settings) -> list[Judgement]:
    """Read the body of `POST /tasks/{id}/feedback`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    judgements, urls = await _read(request, _feedback, settings)
    fetched = await _fetch(request, urls, beside=sum(len(each.image or b"") for each in judgements))
    return [replace(each, image=fetched.get(index, each.image)) for index, each in enumerate(judgements)]


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
        counts = Counter(name for name, _ in request.query_params.multi_items())
        ((repeated, _),) = counts.most_common(1)
        raise Problem(422, f"query.{repeated[:100]} is given more than once; give it once")
    return options


async def _read(request: Request, parse_body: Callable[..., Parsed], *arguments: Any) -> Parsed:
    """Read and parse a request's body, in a thread if it is large, a form of many parts, or holds a zip."""
    content_type, body = request.headers.get("content-type", ""), await _whole_body(request)
    try:
        if len(body) <= LARGE_BODY and body.count(b"\n--") <= MANY_PARTS and ZIP not in body:
            return parse_body(content_type, body, *arguments)
        return await asyncio.to_thread(parse_body, content_type, body, *arguments)
    except Problem as problem:
        raise body_hints.encoding_problem(request.headers, body) or problem from None


async def _whole_body(request: Request) -> bytes:
    """The request's body, which `Admission` has received and passes on as one message."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    return body


async def _complete(request: Request, pictures: AnyPictures) -> AnyPictures:
    """Fetch the images that were sent as URLs. Raises `Problem` 413, 422 or 503."""
    if not pictures.urls:
        return pictures
    fetched = await _fetch(request, pictures.urls, beside=sum(map(len, pictures.images)))
    return replace(pictures, images=[fetched.get(index, data) for index, data in enumerate(pictures.images)], urls={})


async def _fetch(request: Request, urls: Mapping[int, str], *, beside: int) -> dict[int, bytes]:
    """Fetch images, `beside` so many bytes of others. Meanwhile another request may have this one's permit."""
    if not urls:
        return {}
    fetcher: Fetcher = request.app.state.fetcher
    permit: Permit = request.scope[PERMIT]
    room = fetcher.room(beside=beside)
    permit.when_over(partial(fetcher.release, room))
    async with permit.laid_down():
        with metrics.Stage("fetch"):
            return await unless_client_leaves(fetcher.fetch(urls, permit.owner, room))


def _examples(
    content_type: str,
    body: bytes,
    settings: Settings,
    schema: AnyExamples,
    beside_zip: dict[str, str],
) -> Examples:
    if _kind(content_type) in zips.KINDS:
        return _of_zip(body, settings, schema, check_options(beside_zip, schema))
    if _is_json(content_type, body):
        parsed = _json(schema, body, settings)
        negatives = parsed.negatives if isinstance(parsed, CreateTask | AddExamples) else []
        images, urls = read_images([*(example.image for example in parsed.support), *negatives])
        check_image_count(images, settings)
        labels = [example.label for example in parsed.support]
        options = parsed.model_dump(exclude=IMAGES_OF_JSON)
    else:
        form, urls = read_form(content_type, body, settings), {}
        options = options_of(form, schema)
        if (archive := archive_of(form)) is not None:
            if any(part.name == "negatives" for part in form):
                raise Problem(422, f"put the negatives into the zip, in a folder {NEGATIVES!r}")
            return _of_zip(archive, settings, schema, options)
        own = files_of(form)
        with numbering_negatives(len(own)):
            images = [*own, *files_of(form, "negatives", len(own))]
        check_image_count(images, settings)
        labels = texts_of(form, "labels")
        if len(labels) != len(own):
            labels_are_files = any(part.name == "labels" and part.is_file for part in form)
            raise body_hints.label_count_problem(len(own), labels, labels_are_files)
    return Examples(images, urls=urls, labels=labels, options=options)


def _of_zip(data: bytes, settings: Settings, schema: AnyExamples, options: dict[str, Any]) -> Examples:
    """The examples in a zip of folders, and the negatives where they are taken. Raises `Problem` 413 or 422."""
    every = list(zip(*zips.read_labelled(data, settings), strict=True))  # image, label and name of each
    is_negative = [is_of_negatives(label) for _, label, _ in every]
    if any(is_negative) and "negatives" not in schema.model_fields:
        raise Problem(422, f"this call can make no use of negatives: send the zip without its folder {NEGATIVES!r}")
    own = [each for each, negative in zip(every, is_negative, strict=True) if not negative]
    of_none = [each for each, negative in zip(every, is_negative, strict=True) if negative]
    images, names = [image for image, *_ in (*own, *of_none)], [name for *_, name in (*own, *of_none)]
    return Examples(images, names, labels=[label for _, label, _ in own], options=options)


def _queries(content_type: str, body: bytes, settings: Settings) -> Pictures:
    if _kind(content_type) in zips.KINDS:
        return Pictures(*zips.read_pictures(body, settings))
    if _is_json(content_type, body):
        images, urls = read_images(_json(PredictImages, body, settings).images)
    else:
        form, urls = read_form(content_type, body, settings), {}
        if unknown := next((part.name for part in form if part.name not in ("images", ARCHIVE)), None):
            raise body_hints.unknown_field(unknown, ["images", ARCHIVE])
        if (archive := archive_of(form)) is not None:
            return Pictures(*zips.read_pictures(archive, settings))
        images = files_of(form)
    check_image_count(images, settings)
    return Pictures(images, urls=urls)


def _feedback(content_type: str, body: bytes, settings: Settings) -> tuple[list[Judgement], dict[int, str]]:
    """Judged answers, and the URLs of pictures that are still to be fetched, by the answers' numbers."""
    urls = dict[int, str]()
    if _is_json(content_type, body):
        answers = _json(Feedback, body, settings).answers
        sent, urls = read_images(each.image or "" for each in answers)
        judgements = [
            Judgement(each.predicted, each.label, None if each.image is None else image)
            for each, image in zip(answers, sent, strict=True)
        ]
    else:
        form = read_form(content_type, body, settings, fields_an_image=2)
        if unknown := next((part.name for part in form if part.name not in ("images", "labels", "predicted")), None):
            raise body_hints.unknown_field(unknown, ["predicted", "labels", "images"])
        predicted, labels = texts_of(form, "predicted"), texts_of(form, "labels")
        images = files_of(form)
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
    return judgements, urls


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
