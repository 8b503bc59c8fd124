"""How often each key may send requests: token buckets in memory that all workers of a service share, without locks."""

import math
import time
from typing import Protocol, TypeVar

Number = TypeVar("Number", int, float)

PROBED = 16  # slots in which a key may stand
ROUNDING = 1e-6  # seconds: what sums of intervals may be wrong by


class Slots(Protocol[Number]):
    """An array of numbers, zero at first."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Number: ...
    def __setitem__(self, index: int, number: Number, /) -> None: ...


class Rates:
    """A token bucket for each key, which holds one second's requests.

    A bucket's state is one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T
    I.371). A hash table holds it under the key's own number, so that it stays the key's whatever else is in the file.
    A full bucket says nothing, so that any other key may take its slot.
    """

    def __init__(self, owners: Slots[int], full_at: Slots[float]) -> None:
        """`owners` are the numbers of the keys that hold each slot, and `full_at` their buckets' states."""
        self._owners, self._full_at = owners, full_at

    def seconds_to_wait(self, key_number: int, per_second: float) -> int | None:
        """Count a request: None if the rate limit allows it, else the seconds to wait, rounded up."""
        now, interval = time.monotonic(), 1 / per_second
        slot = self._slot(key_number, now)
        full_at = self._when_full(slot, now, per_second)
        wait = full_at - now - (max(1.0, per_second) - 1) * interval
        if wait > ROUNDING:
            return math.ceil(wait)
        self._full_at[slot] = full_at + interval
        return None

    def left(self, key_number: int, per_second: float) -> tuple[int, int]:
        """How many requests the rate limit allows now, and in how many seconds it will allow all again, rounded up."""
        now = time.monotonic()
        until_full = self._when_full(self._slot(key_number, now), now, per_second) - now
        return max(0, math.floor(max(1.0, per_second) - until_full * per_second + ROUNDING)), math.ceil(until_full)

    def _when_full(self, slot: int, now: float, per_second: float) -> float:
        """When a bucket is full again: no later than an empty one, whose key may have had a lower rate until now."""
        latest = now + max(1.0, per_second) / per_second
        if self._full_at[slot] > latest:
            self._full_at[slot] = latest
        return max(now, self._full_at[slot])

    def _slot(self, key_number: int, now: float) -> int:
        """The key's slot, taken now if it had none.

        Two workers may take one slot for two keys at the same moment: then one of them finds it taken at its next
        request, and has lost count of one.
        """
        size = len(self._owners)
        probed = [(key_number + n) % size for n in range(min(PROBED, size))]
        for slot in probed:
            if self._owners[slot] == key_number:
                return slot
        # The first one whose bucket is full, or the one that is full soonest if so many neighbours are in use at once.
        slot = min(probed, key=lambda slot: max(now, self._full_at[slot]))
        self._full_at[slot], self._owners[slot] = 0.0, key_number
        return slot
