"""Which requests want the same replica, and which replica that is.

Tasks fall into slots by their ids, and replicas stand at places from 0 on. A replica at a further place takes its slots
from whoever has most, and no others move: so few tasks are cold after a scale-up, and never more slots than its share.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

TASK = re.compile(r"/tasks/(?!import$)([^/]+)")
SLOTS = 5040  # the first ten replicas have even shares of these
# Of its even share that a further replica takes. Tasks fall into slots by chance: this keeps the tasks that move, too,
# under an even share of them, in 49 of 50 times for a thousand tasks and a fifth replica.
MODEST = 7 / 8


def task_of(path: str) -> str | None:
    """The task that a request's path names, or None: such a request may go anywhere."""
    found = TASK.match(path)
    return found.group(1) if found else None


@dataclass(frozen=True)
class Candidate:
    """A replica, when it was born, and the place it was born to."""

    name: str
    born: float = 0.0
    place: int = 0


@cache
def held(places: int) -> tuple[tuple[int, ...], ...]:
    """The slots of each place."""
    if places == 1:
        return (tuple(range(SLOTS)),)
    before = [list(slots) for slots in held(places - 1)]
    further = [max(before, key=len).pop() for _ in range(int(MODEST * SLOTS / places))]
    return (*(tuple(slots) for slots in before), tuple(further))


class Places:
    """Who stands where. The same replicas give the same places wherever this is asked."""

    def __init__(self, replicas: Iterable[Candidate]) -> None:
        self._names: dict[int, str] = {}
        for one in sorted(replicas, key=lambda one: (one.born, one.name)):
            lowest = next(place for place in range(len(self._names) + 1) if place not in self._names)
            self._names[lowest if one.place in self._names else one.place] = one.name
        places = 1 + max(self._names, default=0)
        self._place_of = [0] * SLOTS
        for place, slots in enumerate(held(places)):
            for slot in slots:
                self._place_of[slot] = place

    def ranked(self, key: str, most: int) -> list[str]:
        """The names of the replicas for a key, best first: the one at its place, then others as the key has it."""
        first = self._names.get(self._place_of[_hash(key) % SLOTS])
        others = sorted((name for name in self._names.values() if name != first), key=lambda name: _hash(key + name))
        return ([first, *others] if first else others)[:most]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
