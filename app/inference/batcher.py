"""Requests that queue while the device works share its next pass.

What takes the device long is done by a thread of its own. What is quickly done is done between two turns of the event
loop: a thread that wants the interpreter for moments, beside a loop that always has it, waits longer for it than
all its work takes, and its comings and goings cost the loop as much again.
"""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from app.inference.engine import is_out_of_memory, release_memory
from app.inference.work import Decode, Result, Work
from app.problems import Problem, overloaded

log = logging.getLogger(__name__)

# A batch ends with the entry that reaches so many images, so that no one waits for the whole queue,
# nor a single picture for somebody's thousand.
BATCH_IMAGES = 256
# A piece of work that takes no longer, in seconds, the loop does itself; and where nothing else is to be done, one that
# takes as long as the second. Several of the larger ones are for the thread: its arithmetic then leaves the loop free.
QUICK, QUICK_ALONE = 0.0005, 0.02
# Where other workers use the other cores a thread has none to compute on beside the loop, and only adaptations, which
# gain from being many, are worth it.
QUICK_AMONG_WORKERS = 0.004
TURN = 0.02  # seconds of work after which the loop sees to its connections again


class OutOfMemory(Problem):
    """A piece of work that alone is too much for the device, as things are."""

    def __init__(self, images: int) -> None:
        super().__init__(
            503, f"the device has too little memory for {images} images now; send fewer, or try again", retry_after=1
        )


@dataclass(frozen=True)
class Entry:
    """A piece of work, who waits for it and until when, and about how many seconds it takes."""

    work: Work
    result: "asyncio.Future[Result]"
    deadline: float
    seconds: float

    @property
    def images(self) -> int:
        return 0 if isinstance(self.work, Decode) else len(self.work.images)


class Batcher:
    """A bounded queue: `submit` from one event loop, `run` there or in a thread of its own.

    Nothing waits while the device is idle: a batch is what queued during the one before. Neither side ever waits for a
    lock that the other holds, and a batch's results wake the loop once. What is quick by `seconds` the loop runs
    itself, and so it never waits behind a large piece; without `seconds` all is the thread's.
    """

    def __init__(
        self,
        run: Callable[[list[Work]], list[Result]],
        max_images: int,
        timeout: float,
        batch_images: int = BATCH_IMAGES,
        seconds: Callable[[Work], float] | None = None,
        quick: float = QUICK,
    ) -> None:
        self._run, self._max_images, self._timeout, self._batch_images = run, max_images, timeout, batch_images
        self._seconds, self._most_quick = seconds or (lambda _: math.inf), quick
        self._quick: deque[Entry] = deque()  # what the loop will run itself
        self._turn_asked = False
        self._waiting: SimpleQueue[Entry | None] = SimpleQueue()  # None wakes who waits for the next
        self._queued_images = self._taken_images = 0  # the thread's, ever: the loop counts the first, it the second
        self._quick_images = 0
        self._running: list[Entry] = []
        self._busy_since: float | None = None
        self.failed = 0  # pieces of work that the device could not do
        self.last_success: float | None = None  # by the monotonic clock: when the device last finished a batch
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within: float | None = None) -> None:
        """Finish what is queued, then stop; wait for that no longer than `within` seconds."""
        self._closing = True
        self._waiting.put(None)
        self._thread.join(within)

    @property
    def waiting_images(self) -> int:
        return self._queued_images - self._taken_images + self._quick_images

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """Seconds since the device's thread was given what it works on."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def abandon(self, reason: str) -> None:
        """Give up on a device that is dead or hung: nobody waits for it any longer, and nobody new may."""
        self._closing = True
        left = [*self._running, *self._quick]
        self._quick.clear()
        with contextlib.suppress(Empty):
            while True:
                entry = self._waiting.get_nowait()
                left += [entry] if entry else []
        self._waiting.put(None)
        self._deliver((entry, overloaded(f"{reason}; try another replica, or again")) for entry in left)

    async def submit(self, work: Work) -> Result:
        """Queue work and wait for its result. Raises `Problem` 503 if the queue is full or time runs out."""
        self._loop = asyncio.get_running_loop()
        entry = Entry(work, self._loop.create_future(), time.monotonic() + self._timeout, self._seconds(work))
        if self._closing or not self.alive:
            raise overloaded("the service is stopping; try another replica, or again")
        waiting = self.waiting_images
        # A request larger than the whole queue may still run when nothing else waits.
        if waiting and waiting + entry.images > self._max_images:
            raise overloaded(f"{waiting} images are waiting already; try again shortly")
        if entry.seconds <= (self._most_quick if self._occupied else QUICK_ALONE):
            self._quick.append(entry)
            self._quick_images += entry.images
            self._ask_for_a_turn()
            return await entry.result
        self._queued_images += entry.images
        self._waiting.put(entry)
        try:
            async with asyncio.timeout(self._timeout):
                return await entry.result
        except TimeoutError:
            raise self._too_late() from None

    @property
    def _occupied(self) -> bool:
        return bool(self._quick) or self._busy_since is not None or self.waiting_images > 0

    def _too_late(self) -> Problem:
        return overloaded(f"the device was not free within {self._timeout:g} s; try again")

    def _ask_for_a_turn(self) -> None:
        if not self._turn_asked and self._loop:
            self._turn_asked = True
            self._loop.call_soon(self._turn, len(self._quick))  # behind everything that came in meanwhile

    def _turn(self, waiting: int) -> None:
        """Run what waits for the loop, up to `TURN` of it; the rest at its next turn.

        If more came since `waiting` of them were there, still more may be coming: the loop first sees to its
        connections, and all share the pass. Nothing ever waits for what has not come yet.
        """
        if len(self._quick) > waiting and self._loop and sum(entry.seconds for entry in self._quick) < TURN:
            self._loop.call_soon(self._turn, len(self._quick))
            return
        self._turn_asked = False
        batch: list[Entry] = []
        seconds, now = 0.0, time.monotonic()
        while self._quick and seconds < TURN:
            entry = self._quick.popleft()
            self._quick_images -= entry.images
            if entry.result.cancelled():  # its client has left
                continue
            if now > entry.deadline:
                entry.result.set_exception(self._too_late())
                continue
            batch.append(entry)
            seconds += entry.seconds
        if batch:
            self._finish(batch, self._run)
        if self._quick:
            self._ask_for_a_turn()

    def _take(self) -> list[Entry]:
        """Wait for work, then take what is there, up to a batch. Empty when there will be no more."""
        batch: list[Entry] = []
        images = 0
        while images < self._batch_images:
            try:
                entry = self._waiting.get(block=not batch and not self._closing)
            except Empty:
                break
            if entry is None:  # woken to see that it is closing: what was accepted until then is still done
                continue
            self._taken_images += entry.images
            if not entry.result.cancelled():  # else its client has left, or its time ran out
                batch.append(entry)
                images += entry.images
        return batch

    def _work(self) -> None:
        while batch := self._take():
            self._running = batch
            self._finish(batch, self._run_watched)
            self._running, self._busy_since = [], None

    def _run_watched(self, batch: list[Work]) -> list[Result]:
        self._busy_since = time.monotonic()
        return self._run(batch)

    def _finish(self, batch: list[Entry], run: Callable[[list[Work]], list[Result]]) -> None:
        """Run a batch; if it fails, each entry alone, so that only the guilty one does.

        Where memory ran out the batch is halved instead: together they were too much, and nobody is guilty.
        """
        try:
            results = run([entry.work for entry in batch])
        except Exception as error:
            if is_out_of_memory(error):
                release_memory()
                self._finish_halves(batch, run)
                return
            if len(batch) > 1:
                for entry in batch:
                    self._finish([entry], run)
                return
            log.exception("the model failed on a request")
            self.failed += 1
            failure = Problem(500, f"the model failed on this request: {type(error).__name__}")
            self._deliver([(batch[0], failure)])
            return
        self.last_success = time.monotonic()
        self._deliver(zip(batch, results, strict=True))

    def _finish_halves(self, batch: list[Entry], run: Callable[[list[Work]], list[Result]]) -> None:
        if len(batch) == 1:
            log.error("out of memory on one request of %d images", batch[0].images)
            self.failed += 1
            self._deliver([(batch[0], OutOfMemory(batch[0].images))])
            return
        log.warning("out of memory on a batch of %d requests: halving it", len(batch))
        middle = len(batch) // 2
        self._finish(batch[:middle], run)
        self._finish(batch[middle:], run)

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
        except RuntimeError:  # the event loop is gone, and its clients with it
            log.warning("%d results had no one left to take them", len(every))
