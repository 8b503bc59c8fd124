"""Checks each request's API key, its right and its rate limit before the body is read."""

import math
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.keys import Key, Keys, Right
from app.http.middleware.refusal import refuse
from app.problems import Problem

# Paths that need no key, since their answers hold nothing about tasks.
PUBLIC_PATHS = {"/", "/docs", "/redoc", "/openapi.json", "/healthz", "/readyz"}
PUBLIC_FOLDERS = ("/page/", "/static/", "/static-offline-docs/")

ASKING_PATH = re.compile(r"/tasks/[^/]+/(predict|evaluate)")  # calls that send pictures and change nothing


def required_right(method: str, path: str) -> Right:
    """The right that a call needs; `write` for every call not listed here, so that a new route is never left open."""
    if path == "/metrics":
        return "metrics"
    if method in ("GET", "HEAD") or (method == "POST" and ASKING_PATH.fullmatch(path)):
        return "read"
    return "write"


def presented_key(headers: Headers) -> str:
    """The key that a request brings, or an empty string."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


class KeyCheck:
    """ASGI middleware that answers 401, 403 or 429, or puts the request's key into `request.state.key`."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path not in PUBLIC_PATHS and not path.startswith(PUBLIC_FOLDERS):
            try:
                key = self._find(self.keys, Headers(scope=scope))
                if key.per_second is not None:
                    send = _with_rate_limit(send, self.keys, key)
                self._check(self.keys, key, scope)
            except Problem as problem:
                return await refuse(problem, scope, receive, send)
            scope.setdefault("state", {})["key"] = key
        await self.app(scope, receive, send)

    @staticmethod
    def _find(keys: Keys, headers: Headers) -> Key:
        """The key of a request. Raises `Problem` 401."""
        presented = presented_key(headers)
        key = keys.find(presented)
        if key is None:
            reason = "this key is not known" if presented else "this call needs a key"
            raise Problem(401, f"{reason}; send one as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'")
        return key

    @staticmethod
    def _check(keys: Keys, key: Key, scope: Scope) -> None:
        """Check that a key allows a request. Raises `Problem` 403 or 429."""
        right = required_right(scope["method"], scope["path"])
        if right not in key.rights:
            raise Problem(
                403, f"key {key.name} may {', '.join(key.rights)}; this call needs {right}: use a key with that right"
            )
        wait = keys.seconds_to_wait(key)
        if wait is not None:
            raise Problem(
                429,
                f"key {key.name} may make {key.per_second:g} requests a second; wait {wait} s",
                retry_after=wait,
            )


def _with_rate_limit(send: Send, keys: Keys, key: Key) -> Send:
    """Add to the answer what is left of the key's rate limit, as the IETF's draft of RateLimit header fields says."""

    async def send_with_rate_limit(message: Message) -> None:
        if message["type"] == "http.response.start" and key.per_second is not None:
            quota, window = max(1, math.floor(key.per_second)), max(1, math.ceil(1 / key.per_second))
            left, seconds = keys.left(key)
            message["headers"] = [
                *message["headers"],
                (b"ratelimit-policy", b'"key";q=%d;w=%d' % (quota, window)),
                (b"ratelimit", b'"key";r=%d;t=%d' % (left, seconds)),
            ]
        await send(message)

    return send_with_rate_limit
