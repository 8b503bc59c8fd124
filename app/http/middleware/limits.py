"""Limits on requests: the size of a body, and how many POST requests are under way at once."""

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
OVERLOAD_SHARE = 0.2  # overloaded is a service that refused more than this share of a second's requests
OVERLOAD_DIVISOR = 32  # an overloaded service admits this fraction of `max_in_flight`
IDLE_SECONDS = 0.5  # without a request, after which the load is over


class BodyLimit:
    """ASGI middleware that answers 413 to a body over the limit, whether declared or counted as it arrives.

    FastAPI has such a limit too, but answers in plain text instead of a problem document.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        too_large = Problem(413, f"the body is over the limit of {self.max_bytes} bytes; send fewer or smaller images")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            return await refuse(too_large, scope, receive, send)
        received = 0

        async def receive_up_to_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise too_large
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and received > self.max_bytes:
                # Without this the server would read the rest of the body.
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, receive_up_to_limit, send_and_close)


OVERLOADED = overloaded("the service has as many requests under way as it allows; try again shortly")
OVERLOADED_RESPONSE = OVERLOADED.response()
REFUSED_AS_OVERLOAD = "leo.refused"  # set in the scope of such a request: the log counts these in one line a second


class Admission:
    """ASGI middleware that answers 503 at once to POST requests over a limit, before it reads their bodies.

    Allow bursts: up to `max_in_flight` requests are admitted. After a refusal clients ask for more than the service
    can do, and a long queue would only make all of them wait. So for the rest of that second only a 32nd of
    `max_in_flight` is admitted, and so on for every second that follows one in which more than a fifth of the
    requests were refused.

    Workers count their requests together in `shared_state`. Since they share the cores, all of them are overloaded
    when one is; each then admits its own part of the 32nd.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int,
        shared_state: SharedState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most`: how many POST requests all workers together may have under way."""
        self.app, self._shared_state, self._clock = app, shared_state or SharedState(), clock
        self._max_in_flight = most
        self._max_when_overloaded = max(1, most // (OVERLOAD_DIVISOR * self._shared_state.workers))
        self._received = self._refused = 0  # requests in the current second
        self._second_ends = self._last_request_at = -math.inf

    def _admit(self) -> bool:
        """Count a request and decide whether it is admitted."""
        now, shared_state = self._clock(), self._shared_state
        if now >= self._second_ends:
            self._begin_second(now)
        self._last_request_at = now
        self._received += 1
        is_overloaded = now < shared_state.overloaded_until
        if shared_state.own_requests < self._max_when_overloaded:
            return True
        if not is_overloaded and shared_state.requests < self._max_in_flight:
            return True
        if not is_overloaded:
            shared_state.own_overloaded_until = self._second_ends
        self._refused += 1
        return False

    def _begin_second(self, now: float) -> None:
        was_overloaded = self._refused > OVERLOAD_SHARE * self._received
        if was_overloaded and now - self._last_request_at < IDLE_SECONDS:
            self._shared_state.own_overloaded_until = now + 1
        if self._refused:  # one line a second: a line for each would cost as much as the refusal
            log.warning(
                "refused %d of %d POST requests in a second: too many are under way", self._refused, self._received
            )
        self._received = self._refused = 0
        self._second_ends = now + 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if not self._admit():
            return await self._refuse(scope, receive, send)
        self._shared_state.own_requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._shared_state.own_requests -= 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[REFUSED_AS_OVERLOAD] = True
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) <= SMALL_BODY:
            # Most of a small body has arrived already. Keeping the connection costs less than accepting a new one.
            await OVERLOADED_RESPONSE(scope, receive, send)
        else:
            await refuse(OVERLOADED, scope, receive, send)
