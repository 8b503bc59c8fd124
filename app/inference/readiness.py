"""Ready means proved: every few seconds a small real task is adapted and predicted through the queue.

A service that will not come right by itself says 503 and ends its process, for its supervisor to start anew.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import cast

import numpy as np

from app.inference.batcher import Batcher, OutOfMemory
from app.inference.watchdog import ASLEEP
from app.inference.work import Adapt, Images, Predict, Predicted
from app.problems import Problem
from model.serving.adapt import AdaptedTask

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between proofs
STALE = 15.0  # seconds after which the last proof, and the last batch of others' work, no longer count
LOOK_EVERY = 0.2  # seconds between looks at the device
FAILURES = 3  # proofs in a row that must fail for the service to give up


class Readiness:
    """Runs the proof, remembers what came of it, and watches the device."""

    def __init__(
        self, batcher: Batcher, shape: tuple[int, ...], deadline: float, give_up: Callable[[str], object]
    ) -> None:
        """`shape` of an image, [R,R] or [R,R,3]; `deadline`: seconds the device may work on one batch; `give_up` is
        called once, with the reason."""
        self._batcher, self._deadline, self._give_up = batcher, deadline, give_up
        self.shape = shape  # what the default model takes, which may be another one after a reload
        self._last_proof: float | None = None
        self._failures = 0
        self._tried, self._failed_seen = time.monotonic(), 0
        self._awake_since = time.monotonic()
        self._reason: str | None = "no proof has run yet"
        self._given_up: str | None = None
        self.stopping = False

    async def prove(self) -> None:
        """Adapt to two strokes, then classify them. Raises whatever went wrong."""
        strokes = two_strokes(self.shape)
        adapted = cast(AdaptedTask, await self._batcher.submit(Adapt(strokes, np.array([0, 1]))))
        work = Predict(strokes, None, adapted.codes.cpu().numpy())
        predicted = cast(Predicted, await self._batcher.submit(work))
        if not np.isfinite(predicted.probabilities).all():
            raise RuntimeError("the model's answers are not finite")
        if predicted.probabilities.argmax(axis=1).tolist() != [0, 1]:
            raise RuntimeError("the model cannot tell a horizontal from a vertical stroke")
        self._last_proof, self._failures, self._reason = time.monotonic(), 0, None

    async def watch(self, beat: Callable[[], object] = lambda: None) -> None:
        """Prove for ever, and look at the device meanwhile; give up on it once it is lost. `beat` at each look."""
        proof: asyncio.Task[None] | None = None
        looked = time.monotonic()
        try:
            while True:
                beat()
                now = time.monotonic()
                if now - looked > ASLEEP:
                    # A paused container, a suspended machine: the device was stopped too, and has not hung.
                    log.warning("did not get to run for %.1f s", now - looked)
                    self._awake_since = now
                looked = now
                lost = self._lost()
                if lost:
                    break
                if self._is_due() and (proof is None or proof.done()):
                    proof = asyncio.create_task(self._try_to_prove())
                await asyncio.sleep(LOOK_EVERY)
        finally:
            if proof:
                proof.cancel()
        log.critical("%s: giving up", lost)
        self._given_up = lost
        self._batcher.abandon(lost)
        self._give_up(lost)

    def _is_due(self) -> bool:
        # At once where something failed: either it was the request's own fault, or the device's.
        failed = self._failures > 0 or self._batcher.failed != self._failed_seen
        return failed or time.monotonic() - self._tried > EVERY

    async def _try_to_prove(self) -> None:
        self._tried, self._failed_seen = time.monotonic(), self._batcher.failed
        try:
            await self.prove()
        except Exception as error:
            log.warning("readiness proof failed: %s", error)
            # A full queue is no fault of the device: while it gets on with it, others' work is the proof.
            waited = isinstance(error, Problem) and error.status == 503 and not isinstance(error, OutOfMemory)
            if not (waited and self._gets_on()):
                self._failures += 1
                self._reason = str(error)

    def _gets_on(self) -> bool:
        last = max(self._last_proof or 0.0, self._batcher.last_success or 0.0, self._awake_since)
        return time.monotonic() - last < STALE

    def _lost(self) -> str | None:
        """Why waiting longer is of no use, or None."""
        if not self._batcher.alive:
            return "the device thread is dead"
        if min(self._batcher.busy_for, time.monotonic() - self._awake_since) > self._deadline:
            return f"the device has hung for over {self._deadline:g} s"
        if self._failures >= FAILURES:
            return f"{FAILURES} proofs in a row failed, the last one thus: {self._reason}"
        return None

    def reason_not_ready(self) -> str | None:
        """Why the service cannot serve, or None."""
        if self.stopping:
            return "the service is stopping"
        reason = self._given_up or self._lost() or self._reason
        return reason or (None if self._gets_on() else "the device has finished nothing of late")


def two_strokes(shape: tuple[int, ...]) -> Images:
    """A horizontal one and a vertical one, [2,R,R] or [2,R,R,3]."""
    strokes = np.zeros((2, *shape), dtype=np.uint8)
    middle = shape[0] // 2
    strokes[0, middle - 1 : middle + 1, 2:-2] = 255
    strokes[1, 2:-2, middle - 1 : middle + 1] = 255
    return strokes
