"""One log line a request, its metrics, and the id that both carry."""

import logging
import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware.limits import REFUSED
from app.observability import metrics
from app.observability.logs import log

SANE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RequestLog:
    """ASGI middleware around everything: counts, times and logs each request, and gives it an id.

    A gateway's `X-Request-ID` is taken over if it looks like one; the answer carries it back. Neither
    headers nor bodies are logged: no key, no picture, no label.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if SANE_ID.fullmatch(given) else secrets.token_hex(16)
        status = 500  # unless an answer begins

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self.app(scope, receive, answering)
        finally:
            took = time.perf_counter() - began
            # Not the path: ids would make endless series.
            method, route = scope["method"], getattr(scope.get("route"), "path", "none")
            metrics.observe_request(method, route, status, took)
            if log.isEnabledFor(logging.INFO) and REFUSED not in scope:
                # Made here, as `info` would look up which line of code it is.
                said = {"method": method, "route": route, "status": status, "request_id": request_id}
                said["milliseconds"] = round(1000 * took, 1)
                log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, "request", (), None, extra=said))
            structlog.contextvars.reset_contextvars(**bound)
