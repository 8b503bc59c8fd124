"""The engine's requests and results: adapt, predict and decode, each for one HTTP request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference.support_features import SupportFeatures

Images = NDArray[np.uint8]  # [B,R,R] with 255 as full ink, or [B,R,R,3]: the output of `model.images.reader.reader`


@dataclass(frozen=True)
class Head:
    """A task's classifier, in the host's memory: `weight` [N,F] and `bias` [N]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return self.weight.nbytes + self.bias.nbytes


@dataclass(frozen=True)
class Adapt:
    """Adapt to support images [S,R,R] with class numbers [S], together with the `earlier` examples of the task."""

    images: Images
    labels: NDArray[np.int64]
    earlier: SupportFeatures | None = None
    model_version: str = ""  # of a loaded model; empty for the default


@dataclass(frozen=True)
class Adapted:
    """An adapted task, and the features of its whole support set. Its arrays share no memory with other tasks."""

    codes: NDArray[np.float32]  # [N, L]
    head: Head | None  # where the engine keeps heads
    losses: list[float]  # support loss before the first step and after each
    support_accuracy: float  # of the adapted head, in 0..1
    is_finite: bool  # whether codes and head are, so that the task can be used
    support: SupportFeatures


@dataclass(slots=True)
class Predict:
    """Classify images [Q,R,R] with a head, or with codes [N,L] if there is no head.

    The last `negatives` of the codes, and of the head's rows, are those of the task's negatives, which are no classes.
    """

    images: Images
    head: Head | None
    codes: NDArray[np.float32]
    model_version: str = ""
    shots: float = 1.0  # mean number of examples per class of the task
    # Without a head: decode one and return it, where the engine keeps heads; if False, take the logits from the codes.
    decode: bool = True
    negatives: int = 0
    shift: float = 0.0  # of the task's scores, see `model.background`

    @property
    def ways(self) -> int:
        """How many classes the task has."""
        return len(self.codes) - self.negatives


@dataclass(slots=True)
class Predicted:
    """Probabilities [Q,N] of the classes, and the head that they were computed with if there is one.

    `known` [Q] tells for each image what share of pictures of the task's own classes look less like them, see
    `model.background`; None if the model is not calibrated for it.
    """

    probabilities: NDArray[np.float32]
    head: Head | None
    known: NDArray[np.float32] | None = None

    @classmethod
    def of_parts(cls, parts: "Sequence[Predicted]") -> "Predicted":
        """Join the answers for parts of one request's images."""
        known = [part.known for part in parts if part.known is not None]
        return cls(
            np.concatenate([part.probabilities for part in parts]),
            parts[0].head,
            np.concatenate(known) if len(known) == len(parts) else None,
        )


@dataclass(frozen=True)
class Decode:
    """Decode codes [N,L] into a head."""

    codes: NDArray[np.float32]
    model_version: str = ""


Work = Adapt | Predict | Decode
Result = Adapted | Predicted | Head


def by_row(numbers: Sequence[float], heights: Sequence[int]) -> NDArray[np.float32] | float:
    """A number of each request for each of its rows [B], or one number if it is the same for all, as in most batches.

    `heights`: how many rows each request has.
    """
    first = numbers[0]
    if all(number == first for number in numbers):
        return first
    return np.repeat(np.array(numbers, dtype=np.float32), heights)


class WorkQueue(Protocol):
    """A queue before one device or several: `Batcher` in this process, or `DeviceQueue` to other processes."""

    failed: int  # requests that the device could not do

    def start(self) -> None:
        """Begin to accept work; call it on the event loop."""

    async def submit(self, work: Work) -> Result:
        """Have work done, and wait for its result. Raises `Problem`."""

    def abandon(self, reason: str) -> None:
        """Fail everything that waits, and accept nothing more."""

    def close(self, within: float | None = None) -> None:
        """Finish, within so many seconds, and stop."""

    @property
    def waiting_images(self) -> int:
        """Images that wait."""

    @property
    def alive(self) -> bool:
        """Whether anything runs that could do the work."""

    @property
    def busy_for(self) -> float:
        """Seconds that this process's device has worked on its present batch; 0 if it is idle or elsewhere."""

    @property
    def last_success(self) -> float | None:
        """When a device last finished something, by the monotonic clock."""

    @property
    def unavailable(self) -> str | None:
        """Why no device can be asked now although one will be soon, or None."""
