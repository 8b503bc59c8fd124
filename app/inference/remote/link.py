"""A worker's connection to one device process: work goes there, and comes back, in memory that both have."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.inference.remote import protocol
from app.inference.remote.protocol import HELLO, PACKET_BYTES, READY, Reply, Request
from app.inference.remote.slots import Piece, Slots, bytes_of, read, write
from app.inference.work import Decode, Result, Work
from app.problems import Problem
from model.config import LEOConfig

log = logging.getLogger(__name__)

MOST_LENT = 128  # requests of a worker at one device: so many packets always fit a socket's buffer
CONNECT_EVERY = 0.05  # seconds


@dataclass
class Entry:
    """A request's work, and what has become of it."""

    work: Work
    result: "asyncio.Future[Result]"
    tries: int = 0

    @property
    def images(self) -> int:
        return 0 if isinstance(self.work, Decode) else len(self.work.images)


@dataclass
class Lent:
    """An entry whose piece of memory belongs to a device process until that answers."""

    entry: Entry
    kind: int
    piece: Piece


class Link:
    """The connection to one device process, or to the one that replaces it. Made and used on the event loop."""

    def __init__(
        self, path: str, slots: Slots, on_reply: Callable[[], None], on_loss: Callable[[list[Entry]], None]
    ) -> None:
        """Connect. `on_reply` is called after answers, `on_loss` with the entries of a device process that ended."""
        self._path, self.slots, self._on_reply, self._on_loss = path, slots, on_reply, on_loss
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._lent: dict[int, Lent] = {}
        self._number = 0
        self.is_ready = False
        self.images = 0  # lent
        self.last_success: float | None = None
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        if self._closed:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
            # It waits here until a device process accepts it.
            socket.send_fds(connection, [HELLO], [self.slots.descriptor])
        except OSError:
            connection.close()
            self._loop.call_later(CONNECT_EVERY, self._connect)
            return
        self._socket = connection
        self._loop.add_reader(connection.fileno(), self._receive)

    def close(self) -> None:
        """Disconnect, and let go of the memory; this may be called in any thread."""
        self._closed = True
        self._loop.call_soon_threadsafe(self._disconnect)
        self._loop.call_soon_threadsafe(self.slots.close)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._socket, self.is_ready = None, False

    def lend(self, entry: Entry, config: LEOConfig) -> bool:
        """Hand an entry to the device process; False if that cannot be done now. Raises `Problem` if it never can."""
        if self._socket is None or not self.is_ready or len(self._lent) >= MOST_LENT:
            return False
        kind, arrays = protocol.work_to_arrays(entry.work)
        size = max(bytes_of(arrays), protocol.result_bytes(entry.work, config))
        if size > self.slots.size:
            raise Problem(413, f"{entry.images} images are more than this service computes at once; send fewer")
        piece = self.slots.take(size)
        if piece is None:
            return False
        write(self.slots.view(piece), arrays)
        self._number += 1
        try:
            self._socket.send(Request(kind, self._number, piece, entry.work.model_version).pack())
        except OSError:  # its buffer is full, or it has just ended, of which `_receive` will hear
            self.slots.give_back(piece)
            return False
        self._lent[self._number] = Lent(entry, kind, piece)
        self.images += entry.images
        return True

    def cancel(self, entry: Entry) -> None:
        """Tell the device process that an entry's client has left, if it has that entry."""
        for number, lent in self._lent.items():
            if lent.entry is entry and self._socket is not None:
                with contextlib.suppress(OSError):  # then it is computed in vain
                    self._socket.send(Request(protocol.CANCEL, number, lent.piece, "").pack())

    def _receive(self) -> None:
        """Take in every answer that has come."""
        try:
            while self._socket is not None:
                packet = self._socket.recv(PACKET_BYTES)
                if not packet:
                    raise ConnectionResetError
                if packet == READY:
                    self.is_ready = True
                else:
                    self._take_back(Reply.unpack(packet))
        except BlockingIOError:
            self._on_reply()
        except OSError:
            self._lose()

    def _take_back(self, reply: Reply) -> None:
        lent = self._lent.pop(reply.number)
        self.images -= lent.entry.images
        if not lent.entry.result.done():  # else its client has left
            arrays = read(self.slots.view(lent.piece))
            if reply.is_result:
                lent.entry.result.set_result(protocol.result_from_arrays(lent.kind, arrays))
            else:
                lent.entry.result.set_exception(protocol.problem_from_arrays(arrays))
        if reply.is_result:
            self.last_success = time.monotonic()
        self.slots.give_back(lent.piece)

    def _lose(self) -> None:
        """The device process has ended: nobody writes to the memory any more, and another one will take its place."""
        log.warning("the device process at %s has ended", self._path)
        self._disconnect()
        lost = list(self._lent.values())
        self._lent.clear()
        self.images = 0
        for lent in lost:
            self.slots.give_back(lent.piece)
        self._connect()
        self._on_loss([lent.entry for lent in lost])
