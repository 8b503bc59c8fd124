"""Slots of shared memory, and arrays in them."""

import numpy as np
import pytest

from app.inference.remote.slots import RETURNED_BYTES, SLOT_BYTES, Slots, bytes_of, read, write


def test_arrays_of_every_kind_come_back_as_they_were() -> None:
    chance = np.random.default_rng(0)
    arrays = [
        chance.integers(0, 256, (3, 7, 7), dtype=np.uint8),
        chance.normal(size=(2, 5)).astype(np.float16),
        chance.normal(size=(4, 1)).astype(np.float32),
        chance.normal(size=3),
        np.arange(6),
        np.empty((0, 4), dtype=np.float32),
        np.array(7),
    ]
    memory = memoryview(bytearray(bytes_of(arrays)))
    write(memory, arrays)
    for found, expected in zip(read(memory), arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_what_does_not_fit_is_refused_whole() -> None:
    arrays = [np.zeros(100)]
    memory = memoryview(bytearray(bytes_of(arrays) - 1))
    with pytest.raises(ValueError, match="do not fit"):
        write(memory, arrays)
    assert bytes(memory) == bytes(len(memory))


@pytest.mark.parametrize("count", [2, 2**40, -1])
def test_a_description_that_lies_reaches_beyond_no_memory(count: int) -> None:
    memory = memoryview(bytearray(256))
    write(memory, [np.zeros(8, dtype=np.uint8)])
    np.ndarray(4, np.int64, memory)[3] = count * 1000  # its length
    with pytest.raises((TypeError, ValueError), match=r"buffer|negative|too"):
        read(memory)


def test_a_request_has_neighbouring_slots_and_gives_all_of_them_back() -> None:
    slots = Slots(10 * SLOT_BYTES)
    chance = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        piece = slots.take(int(chance.integers(0, 4 * SLOT_BYTES)))
        if piece is None:
            slots.give_back(held.pop(int(chance.integers(len(held)))))
            continue
        assert all(
            piece.offset + piece.size <= other.offset or other.offset + other.size <= piece.offset for other in held
        )
        held.append(piece)
    for piece in held:
        slots.give_back(piece)
    assert slots.taken == 0
    whole = slots.take(10 * SLOT_BYTES)
    assert whole is not None
    assert slots.take(1) is None
    slots.close()


def test_a_large_piece_goes_back_to_the_system() -> None:
    slots = Slots(4 * RETURNED_BYTES)
    piece = slots.take(RETURNED_BYTES)
    assert piece is not None
    slots.view(piece)[:4] = b"full"
    slots.give_back(piece)
    assert bytes(slots.view(piece)[:4]) == bytes(4)
    slots.close()
