"""Before any route, and before any body is read: who asks, whether they may, and how much they may send."""

import logging
import math
import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware.refusal import refuse
from app.problems import Problem, overloaded
from app.shared_state import SharedState

log = logging.getLogger(__name__)

SMALL_BODY = 2**16  # bytes
IDLE = 0.5  # seconds without a request after which the crowd is gone
FEW, TOO_MANY = 32, 0.2  # a 32nd of what may be under way, while over a fifth of those who ask are refused


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
