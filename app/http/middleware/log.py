"""Writes one log line for each request, counts and times it, and gives it a request id."""

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware.admission import REFUSED_AS_OVERLOAD
from app.observability import metrics
from app.observability.logs import log_request

REQUEST_ID_FORMAT = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RequestLog:
    """ASGI middleware, outside all other, that logs, counts and times each request and gives it an id.

    The id is the gateway's `X-Request-ID` if that is well-formed, else a new one; the answer carries it too. Headers
    and bodies are never logged, and so no key, image or label.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        from_gateway = next((text.decode("latin-1") for name, text in scope["headers"] if name == b"x-request-id"), "")
        request_id = from_gateway if REQUEST_ID_FORMAT.fullmatch(from_gateway) else secrets.token_hex(16)
        status = 500  # if no answer is sent

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            # The route's template instead of the path: task ids would make a new time series each.
            method, route = scope["method"], getattr(scope.get("route"), "path", "none")
            metrics.observe_request(method, route, status, seconds)
            if REFUSED_AS_OVERLOAD not in scope:
                log_request(method, route, status, request_id, 1000 * seconds)
            structlog.contextvars.reset_contextvars(**bound)
