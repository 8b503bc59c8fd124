"""One thread owns the device; requests that queue while it works share its next pass."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from app.engine import Decode, Result, Work, is_out_of_memory, release_memory
from app.problems import Problem, overloaded

log = logging.getLogger(__name__)

# A batch ends with the entry that reaches so many images, so that no one waits for the whole queue,
# nor a single picture for somebody's thousand.
BATCH_IMAGES = 256


class OutOfMemory(Problem):
    """A piece of work that alone is too much for the device, as things are."""

    def __init__(self, images: int) -> None:
        super().__init__(
            503, f"the device has too little memory for {images} images now; send fewer, or try again", retry_after=1
        )


@dataclass(frozen=True)
class Entry:
    """A piece of work and who waits for it."""

    work: Work
    result: "asyncio.Future[Result]"

    @property
    def images(self) -> int:
        return 0 if isinstance(self.work, Decode) else len(self.work.images)


class Batcher:
    """A bounded queue with one owner: `submit` from one event loop, `run` in a thread of its own.

    Nothing waits while the device is idle: a batch is what queued during the one before. Neither side ever waits for a
    lock that the other holds, and a batch's results wake the loop once.
    """

    def __init__(
        self,
        run: Callable[[list[Work]], list[Result]],
        max_images: int,
        timeout: float,
        batch_images: int = BATCH_IMAGES,
    ) -> None:
        self._run, self._max_images, self._timeout, self._batch_images = run, max_images, timeout, batch_images
        self._waiting: SimpleQueue[Entry | None] = SimpleQueue()  # None wakes who waits for the next
        self._queued_images = self._taken_images = 0  # ever; the loop counts the first, the device's thread the second
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
        return self._queued_images - self._taken_images

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """Seconds since the device was given what it works on."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def abandon(self, reason: str) -> None:
        """Give up on a device that is dead or hung: nobody waits for it any longer, and nobody new may."""
        self._closing = True
        left = list(self._running)
        with contextlib.suppress(Empty):
            while True:
                entry = self._waiting.get_nowait()
                left += [entry] if entry else []
        self._waiting.put(None)
        self._deliver((entry, overloaded(f"{reason}; try another replica, or again")) for entry in left)

    async def submit(self, work: Work) -> Result:
        """Queue work and wait for its result. Raises `Problem` 503 if the queue is full or time runs out."""
        self._loop = asyncio.get_running_loop()
        entry = Entry(work, self._loop.create_future())
        if self._closing or not self.alive:
            raise overloaded("the service is stopping; try another replica, or again")
        waiting = self.waiting_images
        # A request larger than the whole queue may still run when nothing else waits.
        if waiting and waiting + entry.images > self._max_images:
            raise overloaded(f"{waiting} images are waiting already; try again shortly")
        self._queued_images += entry.images
        self._waiting.put(entry)
        try:
            async with asyncio.timeout(self._timeout):
                return await entry.result
        except TimeoutError:
            raise overloaded(f"the device was not free within {self._timeout:g} s; try again") from None

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
            self._finish(batch)
            self._running, self._busy_since = [], None

    def _finish(self, batch: list[Entry]) -> None:
        """Run a batch; if it fails, each entry alone, so that only the guilty one does.

        Where memory ran out the batch is halved instead: together they were too much, and nobody is guilty.
        """
        self._busy_since = time.monotonic()
        try:
            results = self._run([entry.work for entry in batch])
        except Exception as error:
            if is_out_of_memory(error):
                release_memory()
                self._finish_halves(batch)
                return
            if len(batch) > 1:
                for entry in batch:
                    self._finish([entry])
                return
            log.exception("the model failed on a request")
            self.failed += 1
            failure = Problem(500, f"the model failed on this request: {type(error).__name__}")
            self._deliver([(batch[0], failure)])
            return
        self.last_success = time.monotonic()
        self._deliver(zip(batch, results, strict=True))

    def _finish_halves(self, batch: list[Entry]) -> None:
        if len(batch) == 1:
            log.error("out of memory on one request of %d images", batch[0].images)
            self.failed += 1
            self._deliver([(batch[0], OutOfMemory(batch[0].images))])
            return
        log.warning("out of memory on a batch of %d requests: halving it", len(batch))
        middle = len(batch) // 2
        self._finish(batch[:middle])
        self._finish(batch[middle:])

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

        if not every or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the event loop is gone, and its clients with it
            log.warning("%d results had no one left to take them", len(every))
