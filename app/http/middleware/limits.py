"""Before any route, and before any body is read: who asks, whether they may, and how much they may send."""

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.keys import Key, Keys, Right
from app.problems import Problem, overloaded
from app.shared_state import SharedState

log = logging.getLogger(__name__)

# What needs no key: it tells nothing of anyone's tasks.
OPEN = {"/", "/docs", "/redoc", "/openapi.json", "/healthz", "/readyz"}
OPEN_FOLDERS = ("/page/", "/static/", "/static-offline-docs/")
PREDICTION = re.compile(r"/tasks/(?P<task_id>[^/]+)/predict")
# A refused body is thrown away for so many seconds and bytes, so that the refusal is read before the connection ends.
LINGER, LINGER_BYTES = 1.0, 2**24
SMALL_BODY = 2**16  # bytes
IDLE = 0.5  # seconds without a request after which the crowd is gone
FEW, TOO_MANY = 32, 0.2  # a 32nd of what may be under way, while over a fifth of those who ask are refused


def needed(method: str, path: str) -> Right:
    """What a key must allow. A route that nobody thought of here needs `write`."""
    if path == "/metrics":
        return "metrics"
    if method in ("GET", "HEAD") or (method == "POST" and PREDICTION.fullmatch(path)):
        return "read"
    return "write"


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
            thrown_away = 0
            while thrown_away < LINGER_BYTES and (message := await receive()).get("more_body"):
                thrown_away += len(message["body"])
    except TimeoutError:
        pass
    await send({"type": "http.response.body"})


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


class BodyLimit:
    """ASGI middleware: 413 for a body over the limit, declared or counted as it comes in.

    FastAPI has one of its own, whose answer is plain text.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        too_large = Problem(413, f"the body is over the limit of {self.max_bytes} bytes; send fewer or smaller images")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            return await refuse(too_large, scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise too_large
            return message

        async def ending(message: Message) -> None:
            if message["type"] == "http.response.start" and received > self.max_bytes:
                MutableHeaders(scope=message)["Connection"] = "close"  # or the rest would still be read
            await send(message)

        await self.app(scope, counted, ending)


TOO_MUCH = overloaded("as many requests are under way as may be; try again shortly")
TOO_MUCH_NOW = TOO_MUCH.response()
REFUSED = "leo.refused"  # in the scope of a request that was one of too many, which has no log line of its own


class Admission:
    """ASGI middleware: 503 at once, unread and undecoded, for work beyond what may be under way.

    What waits for the event loop stands in no queue that could be full; this counts it. So many come from many clients
    that each wait for an answer, or in a burst: they may. Once it was full, more come than can be done, and a queue
    that stands only makes everybody wait and serves nobody sooner: then few are let in, until few had to be refused
    in a second. Several workers count together, but for those few, of which each lets in its share; and where one is
    crowded all are, as they share the cores.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int,
        shared_state: SharedState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app, self.most, self._shared_state, self._clock = app, most, shared_state or SharedState(), clock
        self._few = max(1, most // (FEW * self._shared_state.workers))
        self._asked = self._refused = 0  # in the present second, which ends:
        self._second_ends = self._last_asked = -math.inf

    def _has_room(self) -> bool:
        now, shared_state = self._clock(), self._shared_state
        if now >= self._second_ends:
            if self._refused > TOO_MANY * self._asked and now - self._last_asked < IDLE:
                shared_state.own_overloaded_until = now + 1
            if self._refused:  # one line, as one for each would cost as much again as to refuse it
                log.warning(
                    "refused %d of %d POST requests in a second: too many are under way", self._refused, self._asked
                )
            self._asked = self._refused = 0
            self._second_ends = now + 1
        self._last_asked = now
        self._asked += 1
        crowded = now < shared_state.overloaded_until
        if shared_state.own_requests < self._few or (not crowded and shared_state.requests < self.most):
            return True
        if not crowded:
            shared_state.own_overloaded_until = self._second_ends
        self._refused += 1
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if not self._has_room():
            scope[REFUSED] = True
            length = dict(scope["headers"]).get(b"content-length", b"")
            # A small body is here or nearly: the connection may stay, which costs a busy server less than a new one.
            small = length.isdigit() and int(length) <= SMALL_BODY
            return await (TOO_MUCH_NOW(scope, receive, send) if small else refuse(TOO_MUCH, scope, receive, send))
        self._shared_state.own_requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._shared_state.own_requests -= 1


# A page may run what the service itself serves, and show images that the reader chose.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
ALL_HEADERS = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}
PAGE_HEADERS = ALL_HEADERS | {b"content-security-policy": PAGE_POLICY.encode()}
API_HEADERS = ALL_HEADERS | {b"content-security-policy": API_POLICY.encode()}


class SecurityHeaders:
    """ASGI middleware: what browsers must not do with answers. No CORS: other sites' scripts cannot read them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = dict(message["headers"])
                page = given.get(b"content-type", b"").startswith(b"text/html")
                wanted = PAGE_HEADERS if page else API_HEADERS
                if scope["path"].startswith("/tasks"):
                    wanted = wanted | {b"cache-control": b"no-store"}
                missing = [(name, value) for name, value in wanted.items() if name not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self.app(scope, receive, with_headers)
