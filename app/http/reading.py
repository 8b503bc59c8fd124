"""Reads what requests send: has their bodies parsed, and fetches images that are named by URL."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.http import body_hints, zips
from app.http.bodies import AddExamples, CreateTask, LabelledImages, RelabelExample
from app.http.fetching import Fetcher
from app.http.forms import AnyExamples
from app.http.middleware.admission import PERMIT
from app.http.parsing import (
    Examples,
    Pictures,
    kind_of,
    parse_changes,
    parse_examples,
    parse_feedback,
    parse_queries,
)
from app.http.turns import Permit
from app.inference.client import unless_client_leaves
from app.observability import metrics
from app.problems import Problem
from app.settings import Settings
from app.tasks.changes import Judgement
from app.tasks.options import TaskOptions, UpdateTask
from app.tasks.zip_files import ZIP

# What is parsed on the event loop at most: so many bytes take 0.6 ms (8 MB 49 ms), so many parts 0.7 ms (2,000 7 ms).
LARGE_BODY, MANY_PARTS = 2**18, 200

Parsed = TypeVar("Parsed")
AnyPictures = TypeVar("AnyPictures", bound=Pictures)


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
    examples = await _read(request, parse_examples, settings, schema, _options_beside_zip(request))
    return await _complete(request, examples)


async def read_queries(request: Request, settings: Settings) -> Pictures:
    """Read the images of `POST /tasks/{id}/predict`. Raises `Problem` 413, 415 or 422."""
    return await _complete(request, await _read(request, parse_queries, settings))


async def read_changes(request: Request, settings: Settings) -> UpdateTask:
    """Read the body of `PATCH /tasks/{id}`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    return await _read(request, parse_changes, settings, UpdateTask)


async def read_feedback(request: Request, settings: Settings) -> list[Judgement]:
    """Read the body of `POST /tasks/{id}/feedback`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    judgements, urls = await _read(request, parse_feedback, settings)
    fetched = await _fetch(request, urls, beside=sum(len(each.image or b"") for each in judgements))
    return [replace(each, image=fetched.get(index, each.image)) for index, each in enumerate(judgements)]


async def read_label(request: Request, settings: Settings) -> str:
    """Read the body of `PATCH /tasks/{id}/support/{n}`. Raises `Problem` 413, 415 or 422."""
    _check_no_query(request)
    change: RelabelExample = await _read(request, parse_changes, settings, RelabelExample)
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
    if kind_of(request.headers.get("content-type", "")) not in zips.KINDS:
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
