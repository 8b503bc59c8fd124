"""Errors as RFC 9457 problem documents, each saying what is wrong and, where possible, how to fix it."""

import http
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left before the answer; seen in logs and metrics only


class Problem(Exception):
    """An error that the client gets as `application/problem+json`; raise it anywhere below a route.

    `extra` members are added to the standard ones, such as `index` for a bad image.
    """

    def __init__(self, status: int, detail: str, *, retry_after: int | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after, self.extra = status, detail, retry_after, extra

    def response(self) -> JSONResponse:
        """The answer that reports this problem."""
        title = http.HTTPStatus(self.status).phrase
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.extra}
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(body, self.status, headers, media_type=MEDIA_TYPE)


FAILED = Problem(500, "the service failed on this request; its log says why")


def no_such_task() -> Problem:
    """The 404 for a task that is unknown, expired or another owner's: one answer, so that it gives nothing away."""
    return Problem(404, "there is no such task: it was never made here, was deleted, or has expired")


def overloaded(detail: str) -> Problem:
    """A 503 that asks the client to try again in a second."""
    return Problem(503, detail, retry_after=1)


def install(app: FastAPI) -> None:
    """Register handlers that turn every error of an app into a problem document."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return Problem(422, describe_validation_errors(error.errors())).response()

    @app.exception_handler(ClientDisconnect)
    async def client_left(_: Request, __: ClientDisconnect) -> Response:
        # Nobody reads this answer. It keeps a disconnect from being logged and counted as an error of the service.
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        # FastAPI answers 400 to every exception raised while it reads a body.
        if isinstance(error.__cause__, Problem):
            return error.__cause__.response()
        if isinstance(error.__cause__, ClientDisconnect):
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        if error.status_code == 400:
            return Problem(422, "the body cannot be read: send JSON in UTF-8, nested a few levels deep").response()
        detail, headers = str(error.detail), dict(error.headers or {})
        if error.status_code == 404:
            detail = "there is nothing at this path; /openapi.json and /docs list the paths"
        if error.status_code == 405:  # Starlette names the methods of the first route of a path only
            headers["Allow"] = ", ".join(_allowed_methods(request))
            detail = f"this path takes no {request.method}, but {headers['Allow']}"
        response = Problem(error.status_code, detail).response()
        response.headers.update(headers)
        return response

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:  # of middleware: see `Failures`
        return FAILED.response()


METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def _allowed_methods(request: Request) -> list[str]:
    """The methods that a request's path is answered for."""
    scope = {"type": "http", "path": request.url.path, "root_path": "", "headers": []}
    allowed = []
    for method in METHODS:
        matching = [
            route for route in request.app.router.routes if route.matches(scope | {"method": method})[0] is Match.FULL
        ]
        if matching and (method == "GET" or not isinstance(matching[0], Mount)):  # mounted files are only read
            allowed.append(method)
    return sorted([*allowed, "HEAD"] if "GET" in allowed else allowed)


def describe_validation_errors(errors: Any) -> str:
    """Put pydantic's list of errors into one line, such as `support.0.label: Field required`."""
    lines = [f"{'.'.join(_shown(part) for part in error['loc']) or 'body'}: {error['msg']}" for error in errors[:5]]
    return "; ".join(lines) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")


def _shown(part: Any) -> str:
    """A name or number in a body, which may be of any length and hold any character."""
    return str(part)[:100].encode("utf-8", "replace").decode()
