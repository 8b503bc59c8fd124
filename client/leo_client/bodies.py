"""Bodies of requests with images: forms of files; JSON where one of the images is a URL, which a form cannot hold."""

import base64
from collections.abc import Sequence
from typing import Any

import httpx

from leo_client.images import Content


def of_examples(
    labels: Sequence[str], contents: Sequence[Content], negatives: Sequence[Content] = (), **options: str | int | bool
) -> dict[str, Any]:
    """Arguments of httpx that send labelled images, images of none of their classes, and options."""
    if _are_files(contents) and _are_files(negatives):
        fields = {name: str(int(value) if isinstance(value, bool) else value) for name, value in options.items()}
        return {
            "data": {"labels": list(labels)} | fields,
            "files": [*_parts(contents), *_parts(negatives, "negatives")],
        }
    pairs = zip(labels, contents, strict=True)
    support = [{"label": label, "image": as_text(content)} for label, content in pairs]
    beside = {"negatives": [as_text(content) for content in negatives]} if negatives else {}
    return {"json": {"support": support} | beside | options}


def of_queries(contents: Sequence[Content]) -> dict[str, Any]:
    """Arguments of httpx that send images."""
    if _are_files(contents):
        return {"files": _parts(contents)}
    return {"json": {"images": [as_text(content) for content in contents]}}


def as_text(content: Content) -> str:
    """An image in JSON: its file as base64, or its URL."""
    return base64.b64encode(content).decode() if isinstance(content, bytes) else str(content)


def _are_files(contents: Sequence[Content]) -> bool:
    return not any(isinstance(content, httpx.URL) for content in contents)


def _parts(files: Sequence[Content], field: str = "images") -> list[tuple[str, tuple[str, Content]]]:
    return [(field, (f"{index}", file)) for index, file in enumerate(files)]
