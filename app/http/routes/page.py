"""The page at `/` and its files, under a content security policy that allows nothing from other sites."""

import os
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.keys import Keys
from app.http.middleware.keys import presented_key
from app.inference.models import Models

PAGE = Path(__file__).resolve().parents[2] / "page"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # revalidate each time, so that an old page never talks to an updated service
}


class _Files(StaticFiles):
    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI, models: Models, keys: Keys | None, max_images: int) -> None:
    """Serve the page at `/` and the files it loads under `/page`."""
    files = _Files(directory=PAGE)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    @app.get("/page/models.json", include_in_schema=False)
    async def model_kinds() -> JSONResponse:
        # Only names and kinds, so it needs no key: the page offers the models before it asks for a key.
        kinds = {engine.info.name: "drawings" if engine.takes_drawings else "photos" for engine in models}
        return JSONResponse(kinds, headers=HEADERS)

    @app.get("/page/access.json", include_in_schema=False)
    async def access(request: Request) -> JSONResponse:
        # The page asks for a key before its first call, and offers only what that key may do.
        key = keys.find(presented_key(request.headers)) if keys else None
        found = {"keys": keys is not None, "rights": key and key.rights, "most_examples": max_images}
        return JSONResponse(found, headers=HEADERS)

    app.mount("/page", files)
