"""What workers and device processes say to each other: small packets on a socket, arrays in shared memory.

A worker connects, and sends `HELLO` with the descriptor of its memory. The device process answers `READY` once it can
compute. Then each `Request` names a piece of that memory, which belongs to the device process until its `Reply`. The
answer is written over the request. If either side ends, the other notices by the closed socket.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.inference.remote.slots import ALIGNMENT, Piece
from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Head, Predict, Predicted, Result, Work
from app.problems import Problem
from model.config import LEOConfig

HELLO, READY = b"hello", b"ready"
PACKET_BYTES = 128  # more than any packet
ADAPT, PREDICT, DECODE, CANCEL = range(4)
_REQUEST = struct.Struct("<BQQQ32s")
_REPLY = struct.Struct("<?Q")
PROBLEM_BYTES = 4096  # room for the longest problem's text


@dataclass(frozen=True)
class Request:
    """Work in a piece of memory, or that the work with this number is no longer wanted."""

    kind: int
    number: int
    piece: Piece
    model_version: str

    def pack(self) -> bytes:
        return _REQUEST.pack(self.kind, self.number, *self.piece, self.model_version.encode())

    @classmethod
    def unpack(cls, packet: bytes) -> Self:
        """Raises `struct.error` for a packet of another size."""
        kind, number, offset, size, version = _REQUEST.unpack(packet)
        return cls(kind, number, Piece(offset, size), version.rstrip(b"\0").decode())


@dataclass(frozen=True)
class Reply:
    """The answer to a request is in its piece of memory, which is the worker's again."""

    is_result: bool  # else a problem
    number: int

    def pack(self) -> bytes:
        return _REPLY.pack(self.is_result, self.number)

    @classmethod
    def unpack(cls, packet: bytes) -> Self:
        return cls(*_REPLY.unpack(packet))


def work_to_arrays(work: Work) -> tuple[int, list[NDArray[Any]]]:
    """Take work apart: its kind, and its arrays."""
    if isinstance(work, Decode):
        return DECODE, [work.codes]
    if isinstance(work, Predict):
        return PREDICT, [work.images, work.codes, np.array([work.shots, work.negatives, work.shift])]
    arrays: list[NDArray[Any]] = [work.images, work.labels]
    if work.earlier:
        arrays += _support_to_arrays(work.earlier)
    return ADAPT, arrays


def work_from_arrays(kind: int, arrays: Sequence[NDArray[Any]], model_version: str) -> Work:
    """Put work together again; its arrays are views of the memory. Raises `ValueError` for what is no work."""
    if kind == DECODE:
        (codes,) = arrays
        return Decode(codes, model_version)
    if kind == PREDICT:
        images, codes, (shots, negatives, shift) = arrays
        return Predict(images, None, codes, model_version, float(shots), negatives=int(negatives), shift=float(shift))
    images, labels, *earlier = arrays
    # The answer, in which the labels come back, is written over the request.
    return Adapt(images, labels.copy(), _support_from_arrays(earlier) if earlier else None, model_version)


def result_to_arrays(result: Result | Problem) -> list[NDArray[Any]]:
    """Take a result apart, or a problem."""
    if isinstance(result, Problem):
        detail = np.frombuffer(result.detail.encode()[: PROBLEM_BYTES - 512], dtype=np.uint8)
        return [np.array([result.status, result.retry_after or 0]), detail]
    if isinstance(result, Predicted):
        return [result.probabilities] if result.known is None else [result.probabilities, result.known]
    if isinstance(result, Head):
        return [result.weight, result.bias]
    numbers = np.array([result.support_accuracy, result.is_finite], dtype=np.float64)
    return [result.codes, np.array(result.losses), numbers, *_support_to_arrays(result.support)]


def result_from_arrays(kind: int, arrays: Sequence[NDArray[Any]]) -> Result:
    """Put a result together again, in memory of its own."""
    own = [array.copy() for array in arrays]
    if kind == PREDICT:
        return Predicted(own[0], None, own[1] if len(own) > 1 else None)
    if kind == DECODE:
        return Head(own[0], own[1])
    codes, losses, (accuracy, is_finite), *support = own
    return Adapted(codes, None, losses.tolist(), float(accuracy), bool(is_finite), _support_from_arrays(support))


def problem_from_arrays(arrays: Sequence[NDArray[Any]]) -> Problem:
    """Put a problem together again."""
    (status, retry_after), detail = arrays
    return Problem(int(status), detail.tobytes().decode(errors="replace"), retry_after=int(retry_after) or None)


def result_bytes(work: Work, config: LEOConfig) -> int:
    """The most bytes that the answer to work may take in memory."""
    if isinstance(work, Predict):
        size = 4 * len(work.images) * (len(work.codes) + 1)
    elif isinstance(work, Decode):
        size = 4 * len(work.codes) * (config.feature_dim + 1)
    else:
        examples = len(work.images) + (len(work.earlier) if work.earlier else 0)
        labels = [work.labels, work.earlier.labels] if work.earlier else [work.labels]
        ways = 1 + max(int(own.max(initial=0)) for own in labels)
        features = (config.views_in_loss + config.own_encoder) * config.feature_dim
        size = 4 * ways * config.latent_dim + 2 * examples * features + 8 * examples
        size += 8 * (config.inner_steps + config.finetune_steps + 1)
    return max(size + 16 * ALIGNMENT, PROBLEM_BYTES)


def _support_to_arrays(support: SupportFeatures) -> list[NDArray[Any]]:
    of_encoder = [] if support.encoder_features is None else [support.encoder_features]
    return [support.features, support.labels, *of_encoder]


def _support_from_arrays(arrays: Sequence[NDArray[Any]]) -> SupportFeatures:
    features, labels, *of_encoder = arrays
    return SupportFeatures(features, of_encoder[0] if of_encoder else None, labels)
