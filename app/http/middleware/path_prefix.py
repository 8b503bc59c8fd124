"""Serves the service behind a path prefix, such as `/leo`, whether the gateway passes the prefix on or strips it.

Two middlewares share the work: the outer one takes the prefix away, so that all others see the paths of the API, and
the inner one puts it where routing expects it by the ASGI specification: in `root_path`, and in front of `path`.
"""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class StripPathPrefix:
    """ASGI middleware that takes the prefix off the path, if the gateway has left it there."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] == "http":
            if scope["path"] == self.prefix:  # the page's relative links need the slash
                return await RedirectResponse(f"{self.prefix}/")(scope, receive, send)
            if scope["path"].startswith(f"{self.prefix}/"):
                scope["path"] = scope["path"].removeprefix(self.prefix)
        await self.app(scope, receive, send)


class AddRootPath:
    """ASGI middleware, inside all other, that tells the routes the prefix, for the links that they write."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] == "http":
            scope["root_path"], scope["path"] = self.prefix, self.prefix + scope["path"]
        await self.app(scope, receive, send)
