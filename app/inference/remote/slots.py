"""Shared memory in fixed slots, and arrays in it. A worker owns its memory; the device process maps the same pages."""

import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SLOT_BYTES = 16 * 1024
LEAST_SLOTS_BYTES = 64 * 2**20  # of a worker's memory for one device; pages that were never used take none
RETURNED_BYTES = 2**20  # a piece this large goes back to the system when it is free again
ALIGNMENT = 64
DTYPES = tuple(np.dtype(name) for name in ("uint8", "float16", "float32", "float64", "int64"))


class Piece(NamedTuple):
    """A run of slots: where it begins in the memory, and its bytes."""

    offset: int
    size: int


class Slots:
    """A worker's memory. A request has a run of neighbouring slots until its answer is there, or its device is gone."""

    def __init__(self, size: int) -> None:
        """Allocate nothing yet: the system gives pages as they are first written. Raises `OSError`."""
        count = -(-size // SLOT_BYTES)
        self.descriptor = os.memfd_create("leo-slots")
        os.ftruncate(self.descriptor, count * SLOT_BYTES)
        self.memory = mmap.mmap(self.descriptor, count * SLOT_BYTES)
        self._taken = bytearray(count)  # 1 for each slot in use

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._taken) * SLOT_BYTES

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return self._taken.count(1)

    def take(self, size: int) -> Piece | None:
        """Take the first run of free slots that holds so many bytes; None if there is none now."""
        count = max(1, -(-size // SLOT_BYTES))
        at = self._taken.find(bytes(count))
        if at < 0:
            return None
        self._taken[at : at + count] = b"\1" * count
        return Piece(at * SLOT_BYTES, count * SLOT_BYTES)

    def give_back(self, piece: Piece) -> None:
        """Free a run of slots."""
        at, count = piece.offset // SLOT_BYTES, piece.size // SLOT_BYTES
        self._taken[at : at + count] = bytes(count)
        if piece.size >= RETURNED_BYTES:
            self.memory.madvise(mmap.MADV_REMOVE, piece.offset, piece.size)

    def view(self, piece: Piece) -> memoryview:
        """The bytes of a run of slots."""
        return memoryview(self.memory)[piece.offset : piece.offset + piece.size]

    def close(self) -> None:
        """Let go of the memory; whoever else maps it keeps it."""
        os.close(self.descriptor)


def bytes_of(arrays: Sequence[NDArray[Any]]) -> int:
    """How many bytes `write` takes for the arrays."""
    return _aligned(8 * len(_described(arrays))) + sum(_aligned(array.nbytes) for array in arrays)


def write(memory: memoryview, arrays: Sequence[NDArray[Any]]) -> None:
    """Write arrays, with what `read` needs to know of them before them. Raises `ValueError` if they do not fit."""
    described = _described(arrays)
    at = _aligned(8 * len(described))
    if bytes_of(arrays) > len(memory):
        raise ValueError(f"{bytes_of(arrays)} bytes do not fit {len(memory)}")
    struct.pack_into(f"<{len(described)}q", memory, 0, *described)
    for array in arrays:
        np.ndarray(array.shape, array.dtype, memory, at)[...] = array
        at += _aligned(array.nbytes)


def read(memory: memoryview) -> list[NDArray[Any]]:
    """The arrays that `write` has written: views of the memory.

    Raises `IndexError`, `TypeError`, `ValueError` or `struct.error` for anything else, and never reads beyond it.
    """
    (count,) = struct.unpack_from("<q", memory, 0)
    shapes, position = [], 8
    for _ in range(count):
        number, dimensions = struct.unpack_from("<2q", memory, position)
        shape = struct.unpack_from(f"<{dimensions}q", memory, position + 16)
        shapes.append((DTYPES[number], shape))
        position += 16 + 8 * dimensions
    arrays, at = [], _aligned(position)
    for dtype, shape in shapes:
        array: NDArray[Any] = np.ndarray(shape, dtype, memory, at)
        arrays.append(array)
        at += _aligned(array.nbytes)
    return arrays


def _described(arrays: Sequence[NDArray[Any]]) -> list[int]:
    """The number of arrays, then each array's type, dimensions and shape."""
    described = [len(arrays)]
    for array in arrays:
        described += [DTYPES.index(array.dtype), array.ndim, *array.shape]
    return described


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
