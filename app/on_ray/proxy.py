"""Middleware that turns the errors of Ray's own HTTP server into problem documents.

Ray loads `middlewares` if RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.on_ray.proxy:middlewares is set: in its
proxies, and in the replicas when HAProxy sends requests to them directly.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import MEDIA_TYPE, overloaded

RAY_ERRORS = {
    408: "no answer came within the proxy's timeout; try again",
    429: "the replicas' queues are full; try again shortly",
    503: "the replicas' queues are full, or no replica is up; try again shortly",
}
REPLICA_GONE = "the replica that had this request is gone; try again"


class ErrorsAsProblems:
    """ASGI middleware: 503 with `Retry-After` for Ray's own errors, and where a replica died without an answer.

    The status is always 503, because clients retry a request after 503 only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's own health check and routes
            await self._app(scope, receive, send)
            return
        started, error = False, None

        async def send_unless_error(message: Message) -> None:
            nonlocal started, error
            if message["type"] == "http.response.start":
                started = True
                content_type = dict(message["headers"]).get(b"content-type", b"")
                if message["status"] in RAY_ERRORS and not content_type.startswith(MEDIA_TYPE.encode()):
                    error = RAY_ERRORS[message["status"]]
            if error is None:
                await send(message)

        await self._app(scope, receive, send_unless_error)
        if not started:
            error = REPLICA_GONE
        if error is not None:
            await overloaded(error).response()(scope, receive, send)


def middlewares() -> list[Middleware]:
    """The middleware that Ray puts around its HTTP servers."""
    return [Middleware(ErrorsAsProblems)]
