"""Who asks, and whether they may: a key is checked before anything else is read."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.keys import Key, Keys, Right
from app.http.middleware.refusal import refuse
from app.problems import Problem

# What needs no key: it tells nothing of anyone's tasks.
OPEN = {"/", "/docs", "/redoc", "/openapi.json", "/healthz", "/readyz"}


OPEN_FOLDERS = ("/page/", "/static/", "/static-offline-docs/")


PREDICTION = re.compile(r"/tasks/(?P<task_id>[^/]+)/predict")


def needed(method: str, path: str) -> Right:
    """What a key must allow. A route that nobody thought of here needs `write`."""
    if path == "/metrics":
        return "metrics"
    if method in ("GET", "HEAD") or (method == "POST" and PREDICTION.fullmatch(path)):
        return "read"
    return "write"


class KeyCheck:
    """ASGI middleware: 401, 403 or 429; else the key is `request.state.key`. Without keys it lets everyone by."""

    def __init__(self, app: ASGIApp, keys: Keys | None) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and self.keys and path not in OPEN and not path.startswith(OPEN_FOLDERS):
            try:
                scope.setdefault("state", {})["key"] = self._admit(self.keys, Headers(scope=scope), scope)
            except Problem as problem:
                return await refuse(problem, scope, receive, send)
        await self.app(scope, receive, send)

    @staticmethod
    def _admit(keys: Keys, headers: Headers, scope: Scope) -> Key:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        presented = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        key = keys.find(presented)
        if key is None:
            what = "this key is not known" if presented else "a key is needed"
            raise Problem(401, f"{what}; send one as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'")
        right = needed(scope["method"], scope["path"])
        if right not in key.rights:
            raise Problem(403, f"key {key.name} may {', '.join(key.rights)}; this call needs {right}")
        wait = keys.seconds_to_wait(key)
        if wait is not None:
            raise Problem(429, f"key {key.name} may make {key.per_second:g} requests a second", retry_after=wait)
        return key
