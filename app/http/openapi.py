"""OpenAPI entries that FastAPI cannot derive: bodies that may be JSON or multipart, and problem documents."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.problems import MEDIA_TYPE
from model.images.formats import NAMES


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors a route answers with."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": "Problem document", "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of a body that is JSON; `app.http.parsing` parses it."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


def body_of(schema: type[BaseModel], form: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of a body that is JSON, multipart or a zip; `app.http.parsing` parses them.

    A form holds an `archive`, or files and what else describes them.
    """
    extra = json_body(schema)
    alternatives = [{"required": [name for name in ("images", "labels") if name in form]}, {"required": ["archive"]}]
    multipart = {"type": "object", "properties": form, "anyOf": alternatives}
    extra["requestBody"]["content"] |= {
        "multipart/form-data": {"schema": multipart},
        "application/zip": {"schema": form["archive"]},
    }
    return extra


FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": f"{NAMES} files"}
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
    "archive": CLASSES_ZIP,
    "name": {"type": "string"},
    "ttl_seconds": {"type": "integer", "minimum": 1},
    "model": {"type": "string"},
    "keep_support": {"type": "boolean", "default": True},
}


def add_schemas(app: FastAPI, *models: type[BaseModel]) -> None:
    """Add schemas to the OpenAPI document that routes refer to only by name."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = generate()
            known = document.setdefault("components", {}).setdefault("schemas", {})
            for model in models:
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                known.update(schema.pop("$defs", {}))
                known[model.__name__] = schema
            # Optional, as keys need not be configured; `app.http.middleware.keys` says which calls need one.
            bearer = {"type": "http", "scheme": "bearer", "description": "a key made by `leo keys add`"}
            document["components"]["securitySchemes"] = {"key": bearer}
            document["security"] = [{"key": []}, {}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
