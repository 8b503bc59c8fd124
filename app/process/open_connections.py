"""The open connections of one process: how many there may be, and which one ends to make room."""

import asyncio
import resource
from typing import Protocol

UNREAD_BYTES = 2**28  # of all answers that clients have not taken yet
CONNECTIONS = 2048  # of one process; a connection takes some 10 KB
SPARE_FILES = 256  # open files that are not connections
OPEN_FILES = 2**14  # also the sockets of many workers, which their parent keeps
SWEEP_SECONDS = 1.0


def allow_open_files() -> int:
    """Allow this process as many open files as the system lets it, and return how many connections that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        soft = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, soft - SPARE_FILES))


class Connection(Protocol):
    """What is known of an open connection."""

    loop: asyncio.AbstractEventLoop
    unread_since: float  # when its client began not to read its answer, by the loop's clock; 0 if nothing waits for it

    def look_over(self, now: float) -> int:
        """End the connection if it is late. Returns how many bytes of answers its client has not taken."""

    def abort(self) -> None:
        """End the connection at once."""


class OpenConnections:
    """All connections of one process, looked over once a second."""

    def __init__(self, most: int) -> None:
        """`most`: open connections, above which the one that has kept the service waiting longest is closed."""
        self._most = most
        self._open: set[Connection] = set()
        # Those whose client has yet to send a whole request, the one that began to wait first before the others.
        self._waiting: dict[Connection, None] = {}
        self._next_sweep: asyncio.TimerHandle | None = None

    def opened(self, connection: Connection) -> None:
        """Count a connection; if it is one too many, close the one that has waited longest for its client."""
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) > self._most:
            next(iter(self._waiting)).abort()
        if self._next_sweep is None:
            self._next_sweep = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def waits_for_service(self, connection: Connection) -> None:
        """A connection's client has sent a whole request."""
        self._waiting.pop(connection, None)

    def waits_for_client(self, connection: Connection) -> None:
        """A connection's client has its answer."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._open:
            self._next_sweep = None
            return
        self._next_sweep = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        now = loop.time()
        unread = {connection: connection.look_over(now) for connection in list(self._open)}
        excess = sum(unread.values()) - UNREAD_BYTES
        for connection in sorted(unread, key=lambda one: one.unread_since):
            if excess > 0 and unread[connection]:
                excess -= unread[connection]
                connection.abort()
