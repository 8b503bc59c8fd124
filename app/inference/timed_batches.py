"""Counts and times the batches that the device runs."""

import time
from collections.abc import Callable, Sequence

from app.inference.work import Decode, Result, Work
from app.observability.metrics import batch_images, batch_requests, batch_seconds
from app.problems import Problem


def timed_batches(
    run: Callable[[list[Work]], list[Result | Problem]],
) -> Callable[[list[Work]], list[Result | Problem]]:
    """Wrap a function that runs a batch so that it records the batch's time, requests and images."""

    def timed(batch: list[Work]) -> list[Result | Problem]:
        began = time.perf_counter()
        results = run(batch)
        observe_batch(batch, time.perf_counter() - began)
        return results

    return timed


def observe_batch(batch: Sequence[Work], seconds: float) -> None:
    """Record a batch that took so many seconds."""
    batch_seconds.observe(seconds)
    batch_requests.observe(len(batch))
    batch_images.observe(sum(len(work.images) for work in batch if not isinstance(work, Decode)))
