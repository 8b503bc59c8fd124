"""One thread owns the device; requests that queue while it works share its next pass."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
    loop: asyncio.AbstractEventLoop

    @property
    def images(self) -> int:
        return 0 if isinstance(self.work, Decode) else len(self.work.images)


class Batcher:
    """A bounded queue with one owner: `submit` from the event loop, `run` in a thread of its own.

    Nothing waits while the device is idle: a batch is what queued during the one before.
    """

    def __init__(
        self,
        run: Callable[[list[Work]], list[Result]],
        max_images: int,
        timeout: float,
        batch_images: int = BATCH_IMAGES,
    ) -> None:
        self._run, self._max_images, self._timeout, self._batch_images = run, max_images, timeout, batch_images
        self._waiting: deque[Entry] = deque()
        self._waiting_images = 0
        self._running: list[Entry] = []
        self._busy_since: float | None = None
        self.failed = 0  # pieces of work that the device could not do
        self.last_success: float | None = None  # by the monotonic clock: when the device last finished a batch
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within: float | None = None) -> None:
        """Finish what is queued, then stop; wait for that no longer than `within` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within)

    @property
    def waiting_images(self) -> int:
        return self._waiting_images

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
        with self._changed:
            self._closing = True
            left = [*self._running, *self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for entry in left:
            self._deliver(entry, overloaded(f"{reason}; try another replica, or again"))

    async def submit(self, work: Work) -> Result:
        """Queue work and wait for its result. Raises `Problem` 503 if the queue is full or time runs out."""
        loop = asyncio.get_running_loop()
        entry = Entry(work, loop.create_future(), loop)
        with self._changed:
            if self._closing or not self.alive:
                raise overloaded("the service is stopping; try another replica, or again")
            # A request larger than the whole queue may still run when nothing else waits.
            if self._waiting and self._waiting_images + entry.images > self._max_images:
                raise overloaded(f"{self._waiting_images} images are waiting already; try again shortly")
            self._waiting.append(entry)
            self._waiting_images += entry.images
            self._changed.notify()
        try:
            async with asyncio.timeout(self._timeout):
                return await entry.result
        except TimeoutError:
            raise overloaded(f"the device was not free within {self._timeout:g} s; try again") from None

    def _take(self) -> list[Entry]:
        """Wait for work, then take what is there, up to a batch. Empty when closing."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            batch: list[Entry] = []
            images = 0
            while self._waiting and images < self._batch_images:
                entry = self._waiting.popleft()
                self._waiting_images -= entry.images
                if not entry.result.cancelled():  # else its client has left, or its time ran out
                    batch.append(entry)
                    images += entry.images
            return batch

    def _work(self) -> None:
        while True:
            batch = self._take()
            if not batch and self._closing:
                return
            if batch:
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
            self._deliver(batch[0], failure)
            return
        self.last_success = time.monotonic()
        for entry, result in zip(batch, results, strict=True):
            self._deliver(entry, result)

    def _finish_halves(self, batch: list[Entry]) -> None:
        if len(batch) == 1:
            log.error("out of memory on one request of %d images", batch[0].images)
            self.failed += 1
            self._deliver(batch[0], OutOfMemory(batch[0].images))
            return
        log.warning("out of memory on a batch of %d requests: halving it", len(batch))
        middle = len(batch) // 2
        self._finish(batch[:middle])
        self._finish(batch[middle:])

    @staticmethod
    def _deliver(entry: Entry, outcome: Result | Problem) -> None:
        def on_loop() -> None:
            if entry.result.done():  # cancelled meanwhile
                return
            if isinstance(outcome, Problem):
                entry.result.set_exception(outcome)
            else:
                entry.result.set_result(outcome)

        try:
            entry.loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the event loop is gone, and its clients with it
            log.warning("a result had no one left to take it")
