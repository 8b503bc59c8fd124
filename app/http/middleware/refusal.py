"""Answers a request without reading its body."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.http.middleware.headers import API_HEADERS
from app.problems import Problem

# A client that is still sending reads the answer only if its bytes are accepted meanwhile: discard up to this much.
DISCARD_SECONDS, DISCARD_BYTES = 1.0, 2**24


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem before the body is read, then close the connection if there is a body."""
    response = problem.response()
    headers = Headers(scope=scope)
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return await response(scope, receive, send)
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            discarded = 0
            while discarded < DISCARD_BYTES and (message := await receive()).get("more_body"):
                discarded += len(message["body"])
    except TimeoutError:
        pass
    await send({"type": "http.response.body"})


def lines_and_body(problem: Problem, *own: tuple[bytes, bytes]) -> bytes:
    """What follows an answer's status line, for a problem that no app reports: header lines, an empty one, the body."""
    response = problem.response()
    headers = [*response.raw_headers, *API_HEADERS.items(), *own]
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + bytes(response.body)
