"""Batches that failed: why, and the smaller batches in which their requests run again."""

import logging
from collections.abc import Sequence
from typing import TypeVar

from app.inference.engine import is_out_of_memory, release_memory
from app.problems import Problem

log = logging.getLogger(__name__)

Request = TypeVar("Request")


class OutOfMemory(Problem):
    """One request needs more memory than the device has now."""

    def __init__(self, images: int) -> None:
        super().__init__(
            503, f"the device has too little memory for {images} images now; send fewer, or try again", retry_after=1
        )


def failure_of(error: Exception, images: int) -> Problem:
    """Say why a request of so many images failed. Nothing is kept of the error."""
    if is_out_of_memory(error):
        return OutOfMemory(images)
    return Problem(500, f"the model failed on this request: {type(error).__name__}")


def smaller_batches(batch: Sequence[Request], failure: Problem) -> list[Sequence[Request]]:
    """Divide a batch that failed. None are left of a batch of one request: the failure is its own.

    Where the device ran out of memory the batch was too large, and is halved. Else one request is to blame, and each
    runs alone. Call it where the error is no longer being handled: an exception's traceback holds the tensors of the
    pass that failed, so nothing could be freed.
    """
    if isinstance(failure, OutOfMemory):
        release_memory()
    if len(batch) == 1:
        return []
    if not isinstance(failure, OutOfMemory):
        return [[request] for request in batch]
    log.warning("out of memory on a batch of %d requests: halving it", len(batch))
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]
