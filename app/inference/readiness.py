"""Ready means tested: every few seconds a small real task is adapted and predicted through the queue.

A service whose device is dead or hangs answers 503 and ends its process, for its supervisor to start again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import cast

import numpy as np

from app.inference.failed_batches import OutOfMemory
from app.inference.watchdog import ASLEEP
from app.inference.work import Adapt, Adapted, Images, Predict, Predicted, WorkQueue
from app.problems import Problem

log = logging.getLogger(__name__)

TEST_EVERY = 5.0  # seconds
STALE = 15.0  # seconds after which the last test that passed, or the last batch of requests, no longer counts
LOOK_EVERY = 0.2  # seconds between looks at the device
MOST_FAILURES = 3  # tests that may fail in a row before the service gives up


class Readiness:
    """Runs the test, remembers its outcome, and watches the device."""

    def __init__(
        self,
        batcher: WorkQueue,
        model: Callable[[], tuple[str, tuple[int, ...]]],
        deadline: float,
        give_up: Callable[[str], object],
    ) -> None:
        """`model` gives the version and the shape of images, [R,R] or [R,R,3], of what is to be tested now;
        `deadline`: seconds that the device may work on one batch; `give_up` is called once, with the reason."""
        self._batcher, self._model, self._deadline, self._give_up = batcher, model, deadline, give_up
        self._last_passed: float | None = None
        self._failures = 0
        self._tested_at, self._failed_before = time.monotonic(), 0
        self._awake_since = time.monotonic()
        self._reason: str | None = "no test has run yet"
        self._given_up: str | None = None
        self.stopping = False

    async def test(self) -> None:
        """Adapt to two strokes, then classify them. Raises whatever goes wrong."""
        # By its version: a reload may come in between, of which a device process learns only by such work.
        version, shape = self._model()
        strokes = two_strokes(shape)
        adapted = cast(Adapted, await self._batcher.submit(Adapt(strokes, np.array([0, 1]), model_version=version)))
        work = Predict(strokes, None, adapted.codes, version)
        predicted = cast(Predicted, await self._batcher.submit(work))
        if not np.isfinite(predicted.probabilities).all():
            raise RuntimeError("the model's answers are not finite")
        if predicted.probabilities.argmax(axis=1).tolist() != [0, 1]:
            raise RuntimeError("the model cannot tell a horizontal from a vertical stroke")
        self._last_passed, self._failures, self._reason = time.monotonic(), 0, None

    async def watch(self, beat: Callable[[], object] = lambda: None) -> None:
        """Test for ever and look at the device in between; give up once it is lost. Calls `beat` at each look."""
        testing: asyncio.Task[None] | None = None
        looked = time.monotonic()
        try:
            while True:
                beat()
                now = time.monotonic()
                if now - looked > ASLEEP:
                    # A paused container or a suspended machine: the device was stopped too, and does not hang.
                    log.warning("did not get to run for %.1f s", now - looked)
                    self._awake_since = now
                looked = now
                lost = self._lost()
                if lost:
                    break
                if self._batcher.unavailable is not None:
                    self._reason, self._tested_at = (
                        self._batcher.unavailable,
                        -math.inf,
                    )  # test it as soon as it is back
                if self._is_due() and (testing is None or testing.done()):
                    testing = asyncio.create_task(self._try_test())
                await asyncio.sleep(LOOK_EVERY)
        finally:
            if testing:
                testing.cancel()
        log.critical("%s: giving up", lost)
        self._given_up = lost
        self._batcher.abandon(lost)
        self._give_up(lost)

    def _is_due(self) -> bool:
        if self._batcher.unavailable is not None:
            return False
        # At once after a failure, which tells whether the request or the device was at fault.
        failed = self._failures > 0 or self._batcher.failed != self._failed_before
        return failed or time.monotonic() - self._tested_at > TEST_EVERY

    async def _try_test(self) -> None:
        self._tested_at, self._failed_before = time.monotonic(), self._batcher.failed
        try:
            await self.test()
        except Exception as error:
            log.warning("the readiness test failed: %s", error)
            # A full queue is no fault of the device: while it finishes batches of requests, they are the test.
            waited = isinstance(error, Problem) and error.status == 503 and not isinstance(error, OutOfMemory)
            if not (waited and self._is_progressing()):
                self._failures += 1
                self._reason = str(error)

    def _is_progressing(self) -> bool:
        last = max(self._last_passed or 0.0, self._batcher.last_success or 0.0, self._awake_since)
        return time.monotonic() - last < STALE

    def _lost(self) -> str | None:
        """Why waiting longer is of no use, or None."""
        if not self._batcher.alive:
            return "the device thread is dead"
        if min(self._batcher.busy_for, time.monotonic() - self._awake_since) > self._deadline:
            return f"the device has hung for over {self._deadline:g} s"
        if self._failures >= MOST_FAILURES:
            return f"{MOST_FAILURES} readiness tests in a row failed, the last one with: {self._reason}"
        return None

    def reason_not_ready(self) -> str | None:
        """Why the service cannot serve, or None."""
        if self.stopping:
            return "the service is stopping"
        reason = self._given_up or self._lost() or self._batcher.unavailable or self._reason
        return reason or (None if self._is_progressing() else "the device has finished nothing for a while")


def two_strokes(shape: tuple[int, ...]) -> Images:
    """A horizontal and a vertical stroke, [2,R,R] or [2,R,R,3]."""
    strokes = np.zeros((2, *shape), dtype=np.uint8)
    middle = shape[0] // 2
    strokes[0, middle - 1 : middle + 1, 2:-2] = 255
    strokes[1, 2:-2, middle - 1 : middle + 1] = 255
    return strokes
