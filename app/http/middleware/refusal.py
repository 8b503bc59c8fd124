"""A refusal of a request whose body was not read."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.problems import Problem

# How long, and how many bytes of, a refused body is read and discarded, so that the client reads the refusal first.
LINGER, LINGER_BYTES = 1.0, 2**24


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without having read the body, which may be a gigabyte: then end the connection."""
    response = problem.response()
    headers = Headers(scope=scope)
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return await response(scope, receive, send)
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER):
            discarded = 0
            while discarded < LINGER_BYTES and (message := await receive()).get("more_body"):
                discarded += len(message["body"])
    except TimeoutError:
        pass
    await send({"type": "http.response.body"})
