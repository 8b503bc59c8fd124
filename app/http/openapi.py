"""OpenAPI entries that FastAPI cannot derive: bodies that may be JSON or multipart, problem documents, headers."""

import hashlib
import http
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.http.bodies import ABOUT_NEGATIVES
from app.problems import MEDIA_TYPE
from model.images.formats import NAMES

TAGS = [
    {
        "name": "tasks",
        "description": "Classifiers: made from a few labelled images, asked, changed, exported and deleted.",
    },
    {
        "name": "examples",
        "description": "The labelled images of a task, one by one. A task adapts again when they change.",
    },
    {"name": "service", "description": "The service itself: its models, whether it is ready, and its metrics."},
]

#: What a `detail` may say, by status.
DETAILS = {
    400: "the request cannot be read as HTTP",
    401: "this call needs a key; send one as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'",
    403: "key reader may read; this call needs write: use a key with that right",
    404: "there is no such task: it was never made here, was deleted, or has expired",
    409: "task b1f0c2a8e4d94c6f9a0e7d35 was made by another version of its model: create it again",
    412: "the task has changed since you read it: read it again, and decide whether the change still fits",
    413: "the body is larger than 33554432 bytes: send fewer or smaller images at once",
    415: "send multipart/form-data or application/json",
    422: "image 3 is truncated; send the whole file",
    429: "key reader may make 5 requests a second; wait 1 s",
    503: "the queue is full, try again",
    507: "the pictures that are kept for this key would take too many bytes; delete tasks that keep theirs",
}
HEADERS = {
    "X-Request-ID": (
        "string",
        "what the log calls this request; a gateway's own id, if it sends one",
        "0af7651916cd43dd",
    ),
    "Retry-After": ("integer", "seconds after which to call again", 1),
    "WWW-Authenticate": ("string", "how to send a key", "Bearer"),
    "Location": ("string", "the new task's path", "/tasks/b1f0c2a8e4d94c6f9a0e7d35"),
    "ETag": ("string", "the task's revision, for `If-Match`", '"1"'),
    "RateLimit-Policy": ("string", "the rate limit of the key: `q` requests in `w` seconds", '"key";q=5;w=1'),
    "RateLimit": ("string", "what is left: `r` requests now, all of them again after `t` seconds", '"key";r=4;t=1'),
}
METHODS = ("get", "post", "patch", "put", "delete")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors a route answers with; `complete_openapi` describes them."""
    return {status: {"description": http.HTTPStatus(status).phrase} for status in statuses}


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of a body that is JSON; `app.http.parsing` parses it."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


def body_of(schema: type[BaseModel], form: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of a body that is JSON, multipart or a zip; `app.http.parsing` parses them.

    A form holds an `archive`, or files and what else describes them.
    """
    extra = json_body(schema)
    # By reference, as generated clients call the form's class by the name of its schema. Generators cannot read that
    # it needs an archive or files (`anyOf` with `required`), so the text says so.
    name = f"{schema.__name__}Form"
    needed = " and ".join(f"`{each}`" for each in ("images", "labels") if each in form)
    FORMS[name] = {
        "title": name,
        "description": f"Either {needed}, or an `archive`.",
        "type": "object",
        "properties": form,
    }
    extra["requestBody"]["content"]["multipart/form-data"] = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    # Not declared as a content type of its own: generators leave out an operation that has one they do not know.
    extra["requestBody"]["description"] = "JSON, a form, or the zip of `archive` alone as `application/zip`."
    return extra


def feedback_body(schema: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of a body that is JSON, or a form of what was predicted, labels and perhaps images."""
    extra = json_body(schema)
    FORMS["FeedbackForm"] = {
        "title": "FeedbackForm",
        "description": "One `predicted` and one of `labels` for each answer, in order; one image for each, or none.",
        "type": "object",
        "properties": {"predicted": TEXTS, "labels": TEXTS, "images": FILES},
        "required": ["predicted", "labels"],
    }
    extra["requestBody"]["content"]["multipart/form-data"] = {"schema": {"$ref": "#/components/schemas/FeedbackForm"}}
    return extra


TEXTS = {"type": "array", "items": {"type": "string"}}
#: The schemas of multipart bodies, by name.
FORMS: dict[str, dict[str, Any]] = {}


FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": f"{NAMES} files"}
NEGATIVE_FILES = {**FILES, "description": ABOUT_NEGATIVES}
PICTURES_ZIP = {"type": "string", "format": "binary", "description": "a zip of pictures, instead of `images`"}
CLASSES_ZIP = {
    "type": "string",
    "format": "binary",
    "description": "a zip with a folder of pictures for each class, instead of `images` and `labels`; where the body "
    "is the zip alone, other options follow the question mark",
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
LABELS = {"type": "array", "items": {"type": "string"}, "description": "one label for each image, in the same order"}
CREATE_FORM = {
    "images": FILES,
    "labels": LABELS,
    "negatives": NEGATIVE_FILES,
    "archive": CLASSES_ZIP,
    "name": {"type": "string"},
    "ttl_seconds": {"type": "integer", "minimum": 1},
    "model": {"type": "string"},
    "keep_support": {"type": "boolean", "default": True},
    "keep_images": {"type": "boolean", "default": False},
}


def complete_openapi(app: FastAPI, *models: type[BaseModel]) -> None:
    """Complete the OpenAPI document: schemas that routes refer to only by name, keys, errors and headers."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = generate()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            for model in models:
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            schemas.update(FORMS)
            for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of a 422
                schemas.pop(unused, None)
            components["headers"] = {
                name: {"description": description, "schema": {"type": kind}, "example": example}
                for name, (kind, description, example) in HEADERS.items()
            }
            # Optional, as keys need not be configured; `app.http.middleware.keys` says which calls need one.
            bearer = {"type": "http", "scheme": "bearer", "description": "a key made by `leo keys add`"}
            components["securitySchemes"] = {"key": bearer}
            document["security"] = [{"key": []}, {}]
            for operations in document["paths"].values():
                for method, operation in operations.items():
                    if method in METHODS:
                        _complete(operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    _serve_as_bytes(app)


def _serve_as_bytes(app: FastAPI) -> None:
    """Answer with the document as it was written once: FastAPI writes it anew each time, which takes milliseconds."""
    body, tag = b"", ""

    async def document(request: Request) -> Response:
        nonlocal body, tag
        if not body:
            servers = {"servers": [{"url": root}]} if (root := request.scope.get("root_path", "").rstrip("/")) else {}
            body = bytes(JSONResponse({**app.openapi(), **servers}).body)
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="application/json", headers={"ETag": tag})

    url = app.openapi_url
    app.router.routes[:] = [route for route in app.routes if getattr(route, "path", None) != url]
    app.add_route(url or "/openapi.json", document, include_in_schema=False)


def _complete(operation: dict[str, Any]) -> None:
    """Describe an operation's errors, and the headers of all its answers."""
    responses: dict[str, Any] = operation["responses"]
    for status in [int(status) for status in responses if int(status) >= 400]:
        title = http.HTTPStatus(status).phrase
        example = {"type": "about:blank", "title": title, "status": status, "detail": DETAILS[status]}
        if status == 422 and "requestBody" in operation:
            example["index"] = 3
        schema = {"$ref": "#/components/schemas/ProblemDocument"}
        content = {MEDIA_TYPE: {"schema": schema, "example": example}}
        responses[str(status)] = {"description": title, "content": content}
    for text, response in responses.items():
        status = int(text)
        names = ["X-Request-ID"]
        names += ["RateLimit-Policy", "RateLimit"] if "429" in responses else []
        names += ["Retry-After"] if status in (429, 503) else []
        names += ["WWW-Authenticate"] if status == 401 else []
        names += ["Location"] if status == 201 else []
        names += ["ETag"] if _answers_task(response) else []
        response.setdefault("headers", {}).update({name: {"$ref": f"#/components/headers/{name}"} for name in names})


def _answers_task(response: dict[str, Any]) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).rpartition("/")[2] in ("Task", "Example", "ExampleList")
