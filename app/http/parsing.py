"""Parses bodies, multipart, JSON or a zip, into images, labels and options."""

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.http import body_hints, zips
from app.http.bodies import AddExamples, CreateTask, Feedback, PredictImages
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
from app.problems import Problem
from app.settings import Settings
from app.tasks.changes import Judgement
from app.tasks.limits import check_image_count, numbering_negatives
from model.data.classes import NEGATIVES, is_of_negatives
from model.data.sources import shown

Body = TypeVar("Body", bound=BaseModel)


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


def parse_examples(
    content_type: str,
    body: bytes,
    settings: Settings,
    schema: AnyExamples,
    beside_zip: dict[str, str],
) -> Examples:
    """Labelled images and options, of which `beside_zip` are those in the URL. Raises `Problem` 413, 415 or 422."""
    if kind_of(content_type) in zips.KINDS:
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


def parse_queries(content_type: str, body: bytes, settings: Settings) -> Pictures:
    """Images to classify. Raises `Problem` 413, 415 or 422."""
    if kind_of(content_type) in zips.KINDS:
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


def parse_feedback(content_type: str, body: bytes, settings: Settings) -> tuple[list[Judgement], dict[int, str]]:
    """Judged answers, and the URLs of pictures that are still to be fetched, by the answers' numbers.

    Raises `Problem` 415 or 422.
    """
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


def parse_changes(content_type: str, body: bytes, settings: Settings, schema: type[Body]) -> Body:
    """What a JSON body of this schema holds. Raises `Problem` 415 or 422."""
    if kind_of(content_type) != "application/json":
        raise Problem(415, "a change is sent as JSON, with Content-Type: application/json")
    return _json(schema, body, settings)


def _is_json(content_type: str, body: bytes) -> bool:
    kind = kind_of(content_type)
    if kind in ("application/json", "multipart/form-data"):
        return kind == "application/json"
    raise body_hints.kind_problem(kind, body)


def kind_of(content_type: str) -> str:
    """The media type of a content type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _json(schema: type[Body], body: bytes, settings: Settings) -> Body:
    # Millions of values would take seconds and gigabytes. Commas bound their number: base64 has none, a data URL has
    # one, and a label has at most as many as characters.
    if body.count(b",") > settings.max_images * (settings.max_label_length + 4) + 100:
        raise Problem(422, f"the JSON holds too many values: send at most {settings.max_images} images")
    try:
        parsed = schema.model_validate_json(body)
    except ValidationError as error:
        if body.startswith(codecs.BOM_UTF8):
            return _json(schema, body.removeprefix(codecs.BOM_UTF8), settings)
        raise body_hints.json_problem(schema, body, error) from None
    json.loads(body, object_pairs_hook=_each_name_once)
    return parsed


def _each_name_once(members: list[tuple[str, Any]]) -> None:
    """Refuse an object of JSON with two members of one name, of which Pydantic takes the last. Raises `Problem` 422."""
    if len(members) > 1:
        ((name, times),) = Counter(name for name, _ in members).most_common(1)
        if times > 1:
            raise Problem(422, f"{name[:100]!r} is given more than once in one object of the JSON; give it once")
