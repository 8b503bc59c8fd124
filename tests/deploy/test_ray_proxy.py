"""Errors of Ray's HTTP server become problem documents."""

import asyncio
import json

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.on_ray.proxy import ErrorsAsProblems


def answered(app: ASGIApp, path: str = "/tasks") -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body that a client gets from an app behind the middleware."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(ErrorsAsProblems(app)({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send))
    start, *bodies = sent
    return start["status"], dict(start["headers"]), b"".join(body.get("body", b"") for body in bodies)


def saying(status: int, kind: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"as it was"})

    return app


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """As where a replica died."""


@pytest.mark.parametrize("app", [saying(408, b"text/plain"), saying(503, b"text/plain"), silent])
def test_rays_errors_become_problems_that_may_be_tried_again(app: ASGIApp) -> None:
    status, headers, body = answered(app)
    assert (status, headers[b"content-type"]) == (503, b"application/problem+json")
    assert headers[b"retry-after"] == b"1"
    assert "try again" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("status", "kind"), [(200, b"text/plain"), (503, b"application/problem+json"), (500, b"application/problem+json")]
)
def test_the_services_own_answers_stay(status: int, kind: bytes) -> None:
    assert answered(saying(status, kind))[::2] == (status, b"as it was")


def test_rays_own_paths_stay() -> None:
    assert answered(saying(503, b"text/plain"), "/-/healthz")[::2] == (503, b"as it was")
