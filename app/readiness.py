"""Ready means proved: every few seconds a small real task is adapted and predicted through the queue."""

import asyncio
import logging
import time
from typing import cast

import numpy as np

from app.batcher import Batcher
from app.engine import Adapt, Predict, Predicted
from model.adapt import AdaptedTask

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between proofs
STALE = 15.0  # seconds after which the last proof no longer counts


class Readiness:
    """Runs the proof and remembers when it last held."""

    def __init__(self, batcher: Batcher, resolution: int) -> None:
        self._batcher = batcher
        self._last_proof: float | None = None
        self._failure = "no proof has run yet"
        # Two drawings, a horizontal and a vertical stroke.
        self._strokes = np.zeros((2, resolution, resolution), dtype=np.uint8)
        middle = resolution // 2
        self._strokes[0, middle - 1 : middle + 1, 2:-2] = 255
        self._strokes[1, 2:-2, middle - 1 : middle + 1] = 255

    async def prove(self) -> None:
        """Adapt to the two strokes, then classify them. Raises whatever went wrong."""
        adapted = cast(AdaptedTask, await self._batcher.submit(Adapt(self._strokes, np.array([0, 1]))))
        work = Predict(self._strokes, None, adapted.codes.cpu().numpy())
        predicted = cast(Predicted, await self._batcher.submit(work))
        if not np.isfinite(predicted.probabilities).all():
            raise RuntimeError("the model's answers are not finite")
        if predicted.probabilities.argmax(axis=1).tolist() != [0, 1]:
            raise RuntimeError("the model cannot tell a horizontal from a vertical stroke")
        self._last_proof = time.monotonic()

    async def keep_proving(self) -> None:
        """Prove for ever."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.prove()
            except Exception as error:
                self._failure = str(error)
                log.warning("readiness proof failed: %s", error)

    def reason_not_ready(self) -> str | None:
        """Why the service cannot serve, or None."""
        if not self._batcher.alive:
            return "the device thread is dead"
        if self._last_proof is None or time.monotonic() - self._last_proof > STALE:
            return self._failure
        return None
