"""The queue before the device: requests that wait while it works share its next pass.

Work that takes long runs in a thread of its own. Work that takes less than handing it to a thread does runs on the
event loop, between two of its turns: a thread that needs the interpreter for moments, beside a loop that always has
it, waits longer for it than its work takes.
"""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import cast

from app.inference.client import unless_client_leaves
from app.inference.encoding import encoded_in_parts
from app.inference.failed_batches import OutOfMemory, failure_of, smaller_batches
from app.inference.work import Adapt, Decode, Predict, Predicted, Result, Work
from app.problems import Problem, overloaded

log = logging.getLogger(__name__)

# A batch is full with the entry that reaches this many images. So nobody waits for the whole queue, nor a single
# picture for somebody's thousand.
BATCH_IMAGES = 256
# A prediction with more images than this is queued in parts, the next when the one before is done. So what others ask
# meanwhile waits for a part, not for somebody's thousand. Measured beside four clients that send a thousand images:
# another's p99 was 4.1 times as long as alone with parts of 64, 3.0 with 24, and the thousand took 4 % longer.
PART_IMAGES = 24
# So are examples to adapt to, in parts that take the device so many seconds, or of so many where phi was not timed.
PART_SECONDS, UNTIMED_PART_IMAGES = 0.25, 64
# The most seconds that work may take to run on the event loop; and when nothing else is under way, since the thread
# would then leave the loop nothing to do.
INLINE_SECONDS, INLINE_SECONDS_WHEN_IDLE = 0.0005, 0.02
# The same where other workers use the other cores: a thread would have no core beside the loop, and only adaptations,
# which gain from sharing a pass, are worth one.
INLINE_SECONDS_BESIDE_WORKERS = 0.004
LOOP_SLICE = 0.02  # seconds of work on the loop before it sees to its connections again


@dataclass(slots=True)
class Entry:
    """A request's work in the queue, its deadline by the monotonic clock, and about how many seconds it takes."""

    work: Work
    result: "asyncio.Future[Result]"
    deadline: float
    seconds: float
    _ticket: list[None] = field(default_factory=lambda: [None])

    def claim(self) -> bool:
        """Whether the caller is the first to take this entry out of the queue: the thread that runs it, or the loop
        that gives it up. To pop from a list is atomic.
        """
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    @property
    def images(self) -> int:
        # An adaptation to kept examples alone counts too, so that a batch holds a bounded number of them.
        return 0 if isinstance(self.work, Decode) else max(1, len(self.work.images))


class Batcher:
    """A bounded queue: `submit` from one event loop; `run` on that loop or in a thread of its own.

    An idle device starts at once: a batch is what queued during the batch before. Neither side ever waits for a lock
    that the other holds, and a batch's results wake the loop once.
    """

    unavailable: str | None = None  # a device that is lost takes the whole process with it

    def __init__(
        self,
        run: Callable[[list[Work]], list[Result | Problem]],
        max_images: int,
        timeout: float,
        batch_images: Callable[[], int] = lambda: BATCH_IMAGES,
        seconds: Callable[[Work], float] = lambda _: math.inf,
        inline_seconds: float = INLINE_SECONDS,
    ) -> None:
        """`max_images`: most that may wait. `timeout`: seconds that work may wait. `batch_images`: images that fill a
        batch, asked anew for each. `seconds`: about how long work takes; infinite sends all of it to the thread.
        """
        self._run, self._max_images, self._timeout, self._batch_images = run, max_images, timeout, batch_images
        self._seconds, self._inline_seconds = seconds, inline_seconds
        self._inline: deque[Entry] = deque()  # for the loop itself
        self._slice_is_scheduled = False
        self._waiting: SimpleQueue[Entry | None] = SimpleQueue()  # for the thread; None only wakes it
        # Images ever queued for the thread and ever given up, which the loop counts, and ever taken by the thread,
        # which it counts itself.
        self._queued_images = self._given_up_images = self._taken_images = 0
        self._inline_images = 0
        self._running: list[Entry] = []
        self._busy_since: float | None = None
        self.failed = 0  # entries that the device could not do
        self.last_success: float | None = None  # by the monotonic clock: when the device last finished a batch
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within: float | None = None) -> None:
        """Finish what is queued, then stop; wait at most `within` seconds for that."""
        self._closing = True
        self._waiting.put(None)
        self._thread.join(within)

    @property
    def waiting_images(self) -> int:
        return self._queued_images - self._given_up_images - self._taken_images + self._inline_images

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """Seconds that the device's thread has worked on its present batch; 0 if it is idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def abandon(self, reason: str) -> None:
        """Give up on a device that is dead or hangs: fail everything that waits, and accept nothing more."""
        self._closing = True
        left = [*self._running, *self._inline]
        self._inline.clear()
        with contextlib.suppress(Empty):
            while True:
                entry = self._waiting.get_nowait()
                left += [entry] if entry else []
        self._waiting.put(None)
        self._deliver((entry, overloaded(f"{reason}; try another replica, or again")) for entry in left)

    async def submit(self, work: Work) -> Result:
        """Queue work and wait for its result. Work whose caller is cancelled meanwhile does not run.

        Raises `Problem`: 503 if the queue is full or time runs out, and whatever the work itself ran into.
        """
        if isinstance(work, Adapt):
            return await self._submit(await encoded_in_parts(work, self._part_of(work), self._submit))
        if not isinstance(work, Predict) or len(work.images) <= PART_IMAGES:
            return await self._submit(work)
        parts: list[Predicted] = []
        for begin in range(0, len(work.images), PART_IMAGES):
            head = parts[0].head if parts else work.head  # decoded once
            part = replace(work, images=work.images[begin : begin + PART_IMAGES], head=head)
            parts.append(cast(Predicted, await self._submit(part)))
        return Predicted.of_parts(parts)

    def _part_of(self, work: Adapt) -> int:
        """How many of an adaptation's images the device may encode at once."""
        count, seconds = len(work.images), self._seconds(replace(work, earlier=None))
        if math.isinf(seconds):
            return UNTIMED_PART_IMAGES
        return count if seconds <= PART_SECONDS else max(1, int(count * PART_SECONDS / seconds))

    async def _submit(self, work: Work) -> Result:
        self._loop = asyncio.get_running_loop()
        entry = Entry(work, self._loop.create_future(), time.monotonic() + self._timeout, self._seconds(work))
        if self._closing or not self.alive:
            raise overloaded("the service is stopping; try another replica, or again")
        waiting = self.waiting_images
        # A request larger than the whole queue may still run when nothing else waits.
        if waiting and waiting + entry.images > self._max_images:
            raise overloaded(f"{waiting} images are waiting already; try again shortly")
        if entry.seconds <= (self._inline_seconds if self._is_occupied else INLINE_SECONDS_WHEN_IDLE):
            self._inline.append(entry)
            self._inline_images += entry.images
            self._schedule_slice()
            return await entry.result
        self._queued_images += entry.images
        self._waiting.put(entry)
        try:
            async with asyncio.timeout(self._timeout):
                return await unless_client_leaves(entry.result)
        except TimeoutError:
            raise self._too_late() from None
        finally:
            if entry.claim():  # it was not taken: time ran out, or its client has left
                self._given_up_images += entry.images

    @property
    def _is_occupied(self) -> bool:
        return bool(self._inline) or self._busy_since is not None or self.waiting_images > 0

    def _too_late(self) -> Problem:
        return overloaded(f"the device was not free within {self._timeout:g} s; try again")

    # -- on the event loop -------------------------------------------------------------------

    def _schedule_slice(self) -> None:
        if not self._slice_is_scheduled and self._loop:
            self._slice_is_scheduled = True
            self._loop.call_soon(self._run_slice, len(self._inline))  # after everything that has come in meanwhile

    def _run_slice(self, waiting: int) -> None:
        """Run what waits for the loop, up to `LOOP_SLICE` of it; the rest in the next slice.

        If more has come since `waiting` entries were there, still more may be coming: the loop first sees to its
        connections once more, and all share the pass.
        """
        if len(self._inline) > waiting and self._loop and sum(entry.seconds for entry in self._inline) < LOOP_SLICE:
            self._loop.call_soon(self._run_slice, len(self._inline))
            return
        self._slice_is_scheduled = False
        batch: list[Entry] = []
        seconds, now = 0.0, time.monotonic()
        while self._inline and seconds < LOOP_SLICE:
            entry = self._inline.popleft()
            self._inline_images -= entry.images
            if entry.result.cancelled():  # its client has left
                continue
            if now > entry.deadline:
                entry.result.set_exception(self._too_late())
                continue
            batch.append(entry)
            seconds += entry.seconds
        if batch:
            self._finish(batch, self._run)
        if self._inline:
            self._schedule_slice()

    # -- in the device's thread --------------------------------------------------------------

    def _take(self) -> list[Entry]:
        """Wait for work, then take what is there, up to a batch. Empty once there will be no more."""
        batch: list[Entry] = []
        images, most = 0, self._batch_images()
        while images < most:
            try:
                entry = self._waiting.get(block=not batch and not self._closing)
            except Empty:
                break
            if entry is None:  # woken to see that it is closing; what was accepted before is still done
                continue
            if entry.claim():
                self._taken_images += entry.images
                batch.append(entry)
                images += entry.images
        return batch

    def _work(self) -> None:
        while batch := self._take():
            self._running = batch
            self._finish(batch, self._run_watched)
            self._running, self._busy_since = [], None

    def _run_watched(self, batch: list[Work]) -> list[Result | Problem]:
        self._busy_since = time.monotonic()
        return self._run(batch)

    # -- in either ---------------------------------------------------------------------------

    def _finish(self, batch: Sequence[Entry], run: Callable[[list[Work]], list[Result | Problem]]) -> None:
        """Run a batch and deliver its results; where it fails, run its entries again in smaller batches."""
        failure = self._try(batch, run)
        if failure is None:
            return
        parts = smaller_batches(batch, failure)
        for part in parts:
            self._finish(part, run)
        if not parts:
            self.failed += 1
            self._deliver([(batch[0], failure)])

    def _try(self, batch: Sequence[Entry], run: Callable[[list[Work]], list[Result | Problem]]) -> Problem | None:
        """Run a batch and deliver its results, or say why it failed, holding on to nothing of it."""
        try:
            results = run([entry.work for entry in batch])
        except Exception as error:
            failure = failure_of(error, batch[0].images)
            if len(batch) == 1 and isinstance(failure, OutOfMemory):
                log.error("out of memory on one request of %d images", batch[0].images)
            elif len(batch) == 1:
                log.exception("the model failed on a request")
            return failure
        self.last_success = time.monotonic()
        self._deliver(zip(batch, results, strict=True))
        return None

    def _deliver(self, outcomes: Iterable[tuple[Entry, Result | Problem]]) -> None:
        every = list(outcomes)

        def on_loop() -> None:
            for entry, outcome in every:
                if entry.result.done():  # cancelled meanwhile
                    continue
                if isinstance(outcome, Problem):
                    entry.result.set_exception(outcome)
                else:
                    entry.result.set_result(outcome)

        if threading.current_thread() is not self._thread:
            on_loop()
            return
        if not every or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the event loop has ended, and its clients with it
            log.warning("%d results had no one left to take them", len(every))
