"""Ray's HTTP server, in its proxies or in the replicas behind HAProxy, taught the service's own form of errors.

Ray calls `middlewares` where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.on_ray.proxy:middlewares is set.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import MEDIA_TYPE, overloaded

RAYS_OWN = {
    408: "no answer came within the proxy's time; try again",
    429: "the replicas' queues are full; try again shortly",
    503: "the replicas' queues are full, or no replica is up; try again shortly",
}
LOST = "the replica that had this request is gone; try again"


class ErrorsAsProblems:
    """An error of Ray's own, or no answer at all because a replica died, becomes a problem with `Retry-After`.

    All of them are 503: another try may well succeed, and clients take that from 503 alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's own health and routes
            await self._app(scope, receive, send)
            return
        begun, instead = False, None

        async def sending(message: Message) -> None:
            nonlocal begun, instead
            if message["type"] == "http.response.start":
                begun = True
                kind = dict(message["headers"]).get(b"content-type", b"")
                if message["status"] in RAYS_OWN and not kind.startswith(MEDIA_TYPE.encode()):
                    instead = RAYS_OWN[message["status"]]
            if instead is None:
                await send(message)

        await self._app(scope, receive, sending)
        if not begun:
            instead = LOST
        if instead is not None:
            await overloaded(instead).response()(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Ray is to put around its servers."""
    return [Middleware(ErrorsAsProblems)]
