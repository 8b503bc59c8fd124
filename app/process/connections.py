"""A uvicorn protocol that gives up slow and endless clients: bounds in bytes and seconds for all that uvicorn holds.

The body of a request is bounded by `app.http.middleware.body`; here is what no request's handler sees: headers, the
framing of chunks, pipelined requests, and answers that nobody reads.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.http.middleware.refusal import lines_and_body
from app.observability.logs import log_request
from app.problems import Problem
from app.process.answers import SingleWriteProtocol
from app.process.open_connections import OpenConnections

HEADER_BYTES = 2**15  # of a request's line and headers together; nginx allows as much
URL_BYTES = 2**13  # four filters of a list, of emoji, percent-encoded, are half of it
HEADER_SECONDS = 10.0  # from a request's first byte to the end of its headers
# Of a body's chunks what is not the body itself: their sizes, extensions and trailers. A byte sent as a chunk of its
# own takes five more. So a quarter of the body may come on top.
FRAMING_BYTES = 2**15
CHUNKS, CHUNK_BYTES = 256, 20  # more chunks must have so many bytes each, on average: each costs a callback
HEADERS = 128  # and trailers of a request
PIPELINED_REQUESTS = 8  # that wait for the answers before theirs
ANSWER_SECONDS, ANSWER_BYTES_A_SECOND = 20.0, 4096  # a client has so long to take its answer, and longer as it takes it
# A client that is still sending reads its answer only if its bytes are taken meanwhile. A gateway whose bytes are not
# takes the replica for broken, and sends it nobody's requests: so the whole of any body that it passes on is taken.
LINGER_SECONDS, LINGER_BODIES = 10.0, 1.25  # bodies of the largest size, with their framing

HEADERS_TOO_LARGE = Problem(431, f"the request's line and headers are over the limit of {HEADER_BYTES} bytes")
URL_TOO_LONG = Problem(414, f"the URL is over the limit of {URL_BYTES} bytes")
TOO_MANY_HEADERS = Problem(431, f"the request has more than {HEADERS} headers")
HEADERS_TOO_LATE = Problem(408, f"the request's headers did not arrive within {HEADER_SECONDS:g} s; send it again")
NO_PROXY = Problem(400, "CONNECT asks for a proxy, which this service is not; send the request itself")
TOO_MUCH_FRAMING = Problem(400, "the body's chunks are too small for their number; send larger ones, or its length")
URL_HINT = "write spaces and other characters than ASCII in the URL percent-encoded, as %20 and %C3%A9"
TOO_MANY_PIPELINED = Problem(503, "too many requests wait for the answers before theirs")  # never sent


def _not_http(error: httptools.HttpParserError) -> Problem:
    """What the parser, whose sentences are fixed, finds wrong with a request."""
    reason = f"this is not a request of HTTP/1.1: {error}"
    in_url = isinstance(error, httptools.HttpParserInvalidURLError) or "Expected HTTP/" in str(error)
    return Problem(400, f"{reason}; {URL_HINT}" if in_url else reason)


class BoundedProtocol(SingleWriteProtocol):
    """One connection, which ends where its client is too slow or sends without end."""

    def __init__(
        self,
        connections: OpenConnections,
        max_body_bytes: int,
        refusal: Callable[[Any], bytes | None] = lambda _: None,
        **given: Any,
    ) -> None:
        """`max_body_bytes` is the limit of a request's body; the further arguments are uvicorn's.

        `refusal` is asked about each request when its headers have come: None, or the 503 that it gets, from the
        answer's second line on.
        """
        super().__init__(**given)
        self._connections, self._refusal = connections, refusal
        self._linger_bytes = int(LINGER_BODIES * max_body_bytes)
        self._fault: Problem | None = None  # what a callback of the parser found
        self._header_count = self._chunks = 0  # of the message that is being received
        self._message_since: float | None = None  # when the first byte came of the message that is being received
        self._in_headers = True
        self._framing_bytes = self._body_bytes = 0  # of the message that is being received
        self._lingers_until: float | None = None  # once all that comes is discarded
        self._discarded_bytes = 0
        self.unread_since = 0.0  # when the client began not to read its answer; 0 if nothing waits for it
        self._taken_before = 0  # bytes that it had taken by then

    # -- uvicorn's and the event loop's callbacks ----------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count; a client that sends nothing is closed as one between two requests is."""
        super().connection_made(transport)
        self._close_if_idle()
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.closed(self)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, or refuse it."""
        if self._lingers_until is not None:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if self._message_since is None:
            self._message_since = self.loop.time()
        self._framing_bytes += len(data)
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError as error:
            if self._fault is TOO_MANY_PIPELINED:
                self.cycle.keep_alive = False  # those before it are answered, and the last of them ends the connection
                self._linger()
            else:
                self._refuse(self._fault or _not_http(error))
        else:
            if self._in_headers and self._framing_bytes > HEADER_BYTES:
                self._refuse(HEADERS_TOO_LARGE)
            elif self._framing_bytes > FRAMING_BYTES + self._body_bytes // 4:
                self._refuse(TOO_MUCH_FRAMING)

    def _parse(self, data: bytes) -> bytes:
        """Parse what has come. Returns what is to be parsed instead, if it offers to go on in another protocol.

        No other protocol is spoken here, so the request counts as one of HTTP/1.1. But the parser takes its body for
        the other protocol: another parser gets it without the offer.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            first = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            others = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            return b"".join([first, *others, b"\r\n", rest])
        return b""

    @property
    def _offers_upgrade(self) -> bool:
        """Whether a request could go on in another protocol."""
        return bool(self.parser.should_upgrade())

    # -- the parser's callbacks ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin to count anew, unless too many requests wait already."""
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            self._stop_parsing(TOO_MANY_PIPELINED)
        self._message_since, self._in_headers = self.loop.time(), True
        self._body_bytes = self._chunks = self._header_count = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after the body are of no use here."""
        self._header_count += 1
        if self._header_count > HEADERS:
            self._stop_parsing(TOO_MANY_HEADERS)
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer the request, unless its URL is too long, or its headers are too large, or it is CONNECT."""
        if self.parser.get_method() == b"CONNECT":
            self._stop_parsing(NO_PROXY)
        if len(self.url) > URL_BYTES:
            self._stop_parsing(URL_TOO_LONG)
        if self._framing_bytes > HEADER_BYTES:  # or the body began in the same read
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEADER_BYTES:
                self._stop_parsing(HEADERS_TOO_LARGE)
        if self._offers_upgrade:
            return
        self._in_headers, self._framing_bytes = False, 0
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Count a chunk of the body, which begins."""
        if self._chunks > CHUNKS and self._body_bytes < CHUNK_BYTES * self._chunks:
            self._stop_parsing(TOO_MUCH_FRAMING)
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body; what comes after the answer is discarded."""
        self._framing_bytes -= len(body)
        self._body_bytes += len(body)
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to count anew with the next message."""
        if self._offers_upgrade:
            return
        self._message_since, self._in_headers, self._framing_bytes, self._discarded_bytes = None, True, 0, 0
        super().on_message_complete()
        if not self._has_answered:
            self._connections.waits_for_service(self)
        elif self.timeout_keep_alive_task is None:  # the answer was sent before the end of the request
            self._close_if_idle()

    def on_response_complete(self) -> None:
        """Wait for the client again."""
        self._connections.waits_for_client(self)
        super().on_response_complete()
        if self.flow.write_paused:  # no further request before this answer has been read
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin to answer a request, by the app, or at once if it is refused."""
        refusal = self._refusal(cycle.scope) if cycle.keep_alive else None
        if refusal is None:
            self._unset_keepalive_if_required()  # one before it in the same read may have been refused
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        defaults = b"".join([name + b": " + value + b"\r\n" for name, value in cycle.default_headers])
        self.transport.write(STATUS_LINE[503] + defaults + refusal)
        self.on_response_complete()

    def resume_writing(self) -> None:
        """Read further requests once the client has read its answers."""
        super().resume_writing()
        self.flow.resume_reading()

    # -- ends ----------------------------------------------------------------------------------

    def look_over(self, now: float) -> int:
        """End the connection if it is late. Returns how many bytes of answers its client has not taken."""
        if self._lingers_until is not None:
            if now > self._lingers_until and self._has_answered:
                self.abort()
        elif self._message_since is not None and now > self._message_since + HEADER_SECONDS:
            if self._in_headers:
                self._refuse(HEADERS_TOO_LATE)
            elif self._has_answered:  # and the rest of the request still does not come
                self.abort()
        return self._check_unread(now)

    @property
    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check_unread(self, now: float) -> int:
        size = int(self.transport.get_write_buffer_size())
        if not size:
            self.unread_since = 0.0
            return 0
        taken = self.transport.written_bytes - size  # type: ignore[attr-defined]
        if not self.unread_since:
            self.unread_since, self._taken_before = now, taken
        elif now > self.unread_since + ANSWER_SECONDS + (taken - self._taken_before) / ANSWER_BYTES_A_SECOND:
            self.abort()
        return size

    def abort(self) -> None:
        """End the connection at once; a request under way sees that its client has left."""
        self.transport.abort()

    def _stop_parsing(self, problem: Problem) -> None:
        self._fault = problem
        raise ValueError(problem.detail)  # the parser stops, and `data_received` is told

    def _refuse(self, problem: Problem) -> None:
        """Answer what is no request that a handler could answer, and end the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_headers:  # the requests before this one are answered, and the last of them is the last at all
                self.cycle.keep_alive = False
                self._linger()
                return
            if self.cycle.response_started or self.pipeline:
                self.abort()  # another answer is due before this one
                return
            self.cycle.disconnected = True  # its handler waits for the rest of the body
            self.cycle.message_event.set()
        from app.observability import metrics  # not at the top: it imports prometheus_client, see `app.process.serve`

        request_id = secrets.token_hex(16)
        metrics.observe_request("none", "none", problem.status, 0.0)
        log_request("none", "none", problem.status, request_id, 0.0)
        own = ((b"x-request-id", request_id.encode()), (b"connection", b"close"))
        self.transport.write(STATUS_LINE[problem.status] + lines_and_body(problem, *own))
        self.transport.flush()  # type: ignore[attr-defined]
        self.transport.write_eof()
        self.cycle = None  # type: ignore[assignment]
        self._linger()

    def _close_if_idle(self) -> None:
        """Close the connection if nothing comes for a while."""
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _linger(self) -> None:
        """Discard whatever still comes, so that the client reads its answer before the connection ends."""
        self._lingers_until = self.loop.time() + LINGER_SECONDS

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > self._linger_bytes:
            self.abort()
