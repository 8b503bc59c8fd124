"""A worker's queue before the device processes: it stands where `Batcher` stands when the engine is in the worker."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import cast

from app.inference.batcher import BATCH_IMAGES
from app.inference.client import unless_client_leaves
from app.inference.encoding import encoded_in_parts
from app.inference.remote.board import Board
from app.inference.remote.link import Entry, Link
from app.inference.remote.slots import Slots
from app.inference.work import Adapt, Predict, Predicted, Result, Work
from app.problems import Problem, overloaded
from model.config import LEOConfig

log = logging.getLogger(__name__)

MOST_TRIES = 2  # a request whose device process dies is tried once more


class DeviceQueue:
    """Work of one worker that waits for device processes, or is there; `submit` from one event loop.

    Each request goes to the least busy device, which batches it with those of all other workers.
    """

    busy_for = 0.0  # seconds of the device's present batch: its own supervisor watches it
    alive = True

    def __init__(
        self, board: Board, config_of: Callable[[Work], LEOConfig], max_images: int, timeout: float, slots_bytes: int
    ) -> None:
        """`max_images`: most that may wait. `timeout`: seconds that work may take. `slots_bytes`: memory a device."""
        self._board, self._config_of = board, config_of
        self._max_images, self._timeout, self._slots_bytes = max_images, timeout, slots_bytes
        self._links: list[Link] = []
        self._waiting: deque[Entry] = deque()
        self._ready = asyncio.Event()
        self._reason: str | None = None  # why it accepts nothing more
        self.failed = 0  # requests that the device could not do

    def start(self) -> None:
        """Connect to the device processes; call it on the event loop."""
        self._links = [
            Link(str(path), Slots(self._slots_bytes), self._lend_waiting, self._retry) for path in self._board.paths
        ]

    async def wait_until_ready(self) -> None:
        """Wait until a device process can compute."""
        await self._ready.wait()

    def close(self, within: float | None = None) -> None:  # noqa: ARG002 - nothing is waited for
        """Disconnect. The server has finished its requests by then; this may be called in any thread."""
        self._reason = "the service is stopping"
        for link in self._links:
            link.close()

    @property
    def waiting_images(self) -> int:
        return sum(entry.images for entry in self._waiting) + sum(link.images for link in self._links)

    @property
    def last_success(self) -> float | None:
        """When a device last answered, by the monotonic clock."""
        return max((link.last_success for link in self._links if link.last_success is not None), default=None)

    @property
    def unavailable(self) -> str | None:
        """Why no device can be asked now, or None."""
        return None if any(link.is_ready for link in self._links) else "the device process is being started"

    def abandon(self, reason: str) -> None:
        """Fail everything that waits, and accept nothing more."""
        self._reason = reason
        waiting, self._waiting = [*self._waiting], deque()
        for entry in waiting:
            _fail(entry, overloaded(f"{reason}; try another replica, or again"))

    async def submit(self, work: Work) -> Result:
        """Have work done, and wait for its result. Many images are done in parts, among others' requests.

        Raises `Problem`: 503 if too much waits, time runs out or two device processes died of it, and whatever the
        work itself ran into.
        """
        if isinstance(work, Adapt):
            return await self._submit(await encoded_in_parts(work, BATCH_IMAGES, self._submit))
        return await self._submit(work)

    async def _submit(self, work: Work) -> Result:
        if self._reason is not None:
            raise overloaded(f"{self._reason}; try another replica, or again")
        loop = asyncio.get_running_loop()
        entries = [Entry(part, loop.create_future()) for part in _parts(work)]
        waiting = self.waiting_images
        # A request larger than the whole queue may still run when nothing else waits.
        if waiting and waiting + sum(entry.images for entry in entries) > self._max_images:
            raise overloaded(f"{waiting} images are waiting already; try again shortly")
        self._waiting.extend(entries)
        self._lend_waiting()
        results: Awaitable[list[Result]] = asyncio.gather(*(entry.result for entry in entries))
        try:
            async with asyncio.timeout(self._timeout):
                return _joined(await unless_client_leaves(results))
        except TimeoutError:
            raise overloaded(f"the device was not free within {self._timeout:g} s; try again") from None
        except Problem as problem:
            self.failed += problem.status == 500
            raise
        finally:
            for entry in entries:
                if entry.result.cancelled() or not entry.result.done():
                    self._give_up(entry)

    def _give_up(self, entry: Entry) -> None:
        entry.result.cancel()
        with contextlib.suppress(ValueError):
            self._waiting.remove(entry)
            return
        for link in self._links:
            link.cancel(entry)

    def _lend_waiting(self) -> None:
        """Hand to the devices what waits, the oldest first, as long as they take it."""
        if self.unavailable is None:
            self._ready.set()
        while self._waiting:
            entry = self._waiting[0]
            try:
                if not any(link.lend(entry, self._config_of(entry.work)) for link in self._least_busy_first()):
                    return
            except Problem as problem:
                _fail(entry, problem)
            except Exception as error:  # or it would stay before all others, whose turn would never come
                log.exception("work could not be written for a device process")
                _fail(entry, Problem(500, f"this request could not be computed: {type(error).__name__}"))
            self._waiting.popleft()

    def _least_busy_first(self) -> Iterable[Link]:
        if len(self._links) == 1:
            return self._links
        # A device may not have noticed yet what this worker has just sent.
        busy = [max(link.images, self._board.images[number]) for number, link in enumerate(self._links)]
        return [self._links[number] for number in sorted(range(len(busy)), key=busy.__getitem__)]

    def _retry(self, entries: list[Entry]) -> None:
        """Try entries of a device process that has ended once more, before all others; then fail them."""
        for entry in reversed(entries):
            entry.tries += 1
            if entry.result.done():  # its client has left
                continue
            if entry.tries >= MOST_TRIES:
                self.failed += 1
                _fail(entry, overloaded("the device process died twice over this request; try again"))
            else:
                self._waiting.appendleft(entry)
        self._lend_waiting()


def _parts(work: Work) -> list[Work]:
    """A prediction of many images in several parts; other work as it is."""
    if not isinstance(work, Predict) or len(work.images) <= BATCH_IMAGES:
        return [work]
    starts = range(0, len(work.images), BATCH_IMAGES)
    return [replace(work, images=work.images[at : at + BATCH_IMAGES]) for at in starts]


def _joined(results: list[Result]) -> Result:
    """The result of work from those of its parts."""
    if len(results) == 1:
        return results[0]
    return Predicted.of_parts(cast(list[Predicted], results))


def _fail(entry: Entry, problem: Problem) -> None:
    if not entry.result.done():
        entry.result.set_exception(problem)
