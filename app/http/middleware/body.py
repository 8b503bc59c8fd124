"""Receives the bodies of requests, within limits of size, time and memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.problems import Problem, overloaded
from model.allocator import return_freed_memory

# A body may take so many seconds, and one more for each of so many bytes that have come. Telephones with a bad
# connection send 20 KB/s.
BODY_SECONDS, BYTES_A_SECOND = 20.0, 4096
# When so many bytes were held and most are free again, the memory goes back to the system. The allocator would keep it:
# three rounds of 24 bodies of 31 MB left 350 to 520 MB in a worker, and 50 to 110 MB so.
MUCH_MEMORY = 2**26


class Arrival:
    """A body that is being received."""

    def __init__(self) -> None:
        self.size, self.is_dropped = 0, False
        self.deadline: asyncio.Timeout | None = None  # once there is something to wait for


class Bodies:
    """The bodies that one process holds: those that are being received, and those of requests that wait or run.

    If they are too many bytes together, the body that began to arrive first is dropped: honest clients have soon sent
    theirs, and it is the slow ones that fill the memory.
    """

    def __init__(self, max_bytes: int, max_held_bytes: int) -> None:
        """`max_bytes`: of one body. `max_held_bytes`: of all together; a body that is the only one may be larger."""
        self._max_bytes, self._max_held_bytes = max_bytes, max_held_bytes
        self._arriving: dict[Arrival, None] = {}
        self.held_bytes = self._most_held_bytes = 0  # now, and since memory was last given back

    def check_declared(self, scope: Scope) -> int:
        """The declared length, 0 if there is none. Raises `Problem` 413 if it is over the limit."""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = int(value) if value.isdigit() else 0
                if length > self._max_bytes:
                    raise self._too_large()
                return length
        return 0

    async def receive(self, receive: Receive) -> bytes:
        """Receive a whole body, which counts as held until `release` is called with it.

        Raises `Problem` 413 (too large), 408 (too slow) or 503 (dropped), and `ClientDisconnect`.
        """
        arrival = Arrival()
        self._arriving[arrival] = None
        try:
            message = next_if_here(receive)
            if message is not None and not message.get("more_body", False):  # most bodies; they need no timer
                chunk = self._take(arrival, message)
                arrival.size = 0  # the caller releases it
                return chunk
            return await self._receive_on(arrival, message, receive)
        except TimeoutError:
            if arrival.is_dropped:
                raise _no_room() from None
            raise Problem(
                408,
                f"the body came too slowly: it may take {BODY_SECONDS:g} s and one more for each {BYTES_A_SECOND} "
                "bytes; send fewer or smaller images, or send them over a faster connection",
            ) from None
        finally:
            self._arriving.pop(arrival, None)
            self._uncount(arrival.size)

    async def _receive_on(self, arrival: Arrival, message: Message | None, receive: Receive) -> bytes:
        """Receive a body within its time; its first message may be here already. Raises `TimeoutError` too."""
        # Joined at the end: a buffer that grows leaves holes behind, which the allocator keeps.
        began, chunks = asyncio.get_running_loop().time(), list[bytes]()
        async with asyncio.timeout_at(began + BODY_SECONDS) as arrival.deadline:
            while True:
                message = message or await receive()
                chunks.append(self._take(arrival, message))
                if not message.get("more_body", False):
                    arrival.size = 0  # the caller releases it
                    return b"".join(chunks)  # not a copy if it is one
                arrival.deadline.reschedule(began + BODY_SECONDS + arrival.size / BYTES_A_SECOND)
                message = None

    def _take(self, arrival: Arrival, message: Message) -> bytes:
        """Count and return the bytes of a message. Raises `Problem`, or `ClientDisconnect` if the client has left."""
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        self._count(arrival, len(chunk))
        return chunk

    def release(self, body: bytes) -> None:
        """Say that a request is done with the body that `receive` gave it."""
        self._uncount(len(body))

    def _uncount(self, size: int) -> None:
        self.held_bytes -= size
        if self._most_held_bytes > MUCH_MEMORY and self.held_bytes < self._most_held_bytes // 4:
            self._most_held_bytes = 0
            asyncio.get_running_loop().run_in_executor(None, return_freed_memory)

    def _count(self, arrival: Arrival, size: int) -> None:
        if arrival.is_dropped:
            raise _no_room()
        arrival.size += size
        self.held_bytes += size
        self._most_held_bytes = max(self._most_held_bytes, self.held_bytes)
        if arrival.size > self._max_bytes:
            raise self._too_large()
        while self.held_bytes > self._max_held_bytes and self.held_bytes > arrival.size:
            self._drop(next(iter(self._arriving)))
            if arrival.is_dropped:
                raise _no_room()

    def _drop(self, arrival: Arrival) -> None:
        del self._arriving[arrival]
        self.held_bytes -= arrival.size
        arrival.size, arrival.is_dropped = 0, True
        if arrival.deadline:
            arrival.deadline.reschedule(0)  # at once

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is over the limit of {self._max_bytes} bytes; send fewer or smaller images")


def _no_room() -> Problem:
    return overloaded("the service holds as many bytes of requests as it may; try again shortly")


def has_body(scope: Scope) -> bool:
    """Whether a request's headers announce a body."""
    for name, value in scope["headers"]:  # a generator would take twice as long
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return False


def next_if_here(receive: Receive) -> Message | None:
    """The next message of a request if it has arrived, else None: `receive` is given up where it would wait."""
    step: Any = receive()
    try:
        step.send(None)
    except StopIteration as ended:
        message: Message = ended.value
        return message
    step.close()
    return None


def replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """An ASGI `receive` that gives a body that was received before, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
