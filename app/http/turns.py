"""Permits to work on a request: owners take turns, each waits for a bounded time, and too much is refused."""

import asyncio
import contextlib
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Literal, NamedTuple

from app.problems import Problem, overloaded
from app.shared_state import SHARE_SLOTS, SharedState

log = logging.getLogger(__name__)

Kind = Literal["small", "large", "read"]

# How many requests of one share one worker works on at once. While an owner is alone its small requests may be more,
# since requests that share a pass of the model take less: measured at 32 to 256 clients, a prediction took 1.33 ms of
# processor time with 4 permits, 1.25 with 8, 1.06 with 16 and 1.15 without a limit, and a creation 7.2, 5.9, 5.2, 5.4.
# Reads: beside 64 clients that list tasks another's p99 was 4.2 times as long as alone with 2 permits, 2.3 with 1.
PERMITS: dict[Kind, int] = {"small": 4, "large": 1, "read": 1}
PERMITS_ALONE: dict[Kind, int] = {"small": 16, "large": 2, "read": 2}
ALL_PERMITS = 24  # of all shares together; so who comes first beside one who has flooded the service finds some free
ALONE_SECONDS = 1.0  # without a request of another owner, after which an owner is alone
OVERLOAD_SECONDS = 30.0  # that a share counts as overloading at most
CALM_SECONDS = 1.0  # without a refusal, after which it does no longer


class Share(NamedTuple):
    """An owner's requests of one kind. Each share has its own queue, so that none waits for another's."""

    owner: str
    kind: Kind


class TooMany(Problem):
    """A request of a share that has as many under way as it may have."""

    def __init__(self) -> None:
        detail = "as many of your requests are under way as the service allows; try again shortly"
        super().__init__(503, detail, retry_after=1)


class Turns:
    """A worker's permits. A request waits for one in its share's queue, and the shares take turns.

    A share may have `most` requests that wait or run, in all workers together, so as many clients that each wait for
    their answer are never refused. A share that asks for more overloads the service: for half a minute, or until a
    second passes without a refusal, none of its requests may wait. Those that do are refused too: what is accepted
    under overload is answered soon.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        shared_state: SharedState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most`: requests of a share that wait or run. `seconds`: that one may wait."""
        self._most, self._seconds, self._clock = most, seconds, clock
        self._load = (shared_state or SharedState()).load
        self._running: dict[Share, int] = {}
        self._free = ALL_PERMITS
        self._latest_owner, self._alone_from = "", 0.0
        self._refused, self._refused_at, self._report_at = 0, -math.inf, -math.inf  # of all shares, in this worker
        self._queues: dict[Share, deque[asyncio.Future[None]]] = {}  # the share whose turn is next before the others

    @property
    def has_refused_lately(self) -> bool:
        """Whether this worker has refused a request within the last second or so."""
        return self._clock() < self._refused_at + CALM_SECONDS

    def admits(self, share: Share, coming: int = 0) -> bool:
        """Whether a request of the share may come in now, besides those that are `coming` in and do not count yet.

        Call it once more for a request that came in, but never again for one that it has refused: those are counted.
        """
        load, slot, now = self._load, slot_of(share), self._clock()
        if share.owner != self._latest_owner:
            self._latest_owner, self._alone_from = share.owner, now + ALONE_SECONDS
        if load.own(slot) + coming < self._permits(share.kind):
            return True
        calm_at = min(load.overloaded_since[slot] + OVERLOAD_SECONDS, load.refused_at[slot] + CALM_SECONDS)
        if now >= calm_at:
            if load.all(slot) + coming < self._most:
                return True
            load.overloaded_since[slot] = now
        load.refused_at[slot] = self._refused_at = now
        waiting = self._queues.pop(share, ())
        for turn in waiting:
            if not turn.done():
                turn.set_exception(TooMany())
        self._refused += 1 + len(waiting)
        if now >= self._report_at:  # a line for each would cost as much as the refusal
            log.warning("refused %d requests, whose owners have too many under way", self._refused)
            self._refused, self._report_at = 0, now + 1
        return False

    def _permits(self, kind: Kind) -> int:
        """How many permits a share of this kind may have now."""
        return (PERMITS_ALONE if self._clock() >= self._alone_from else PERMITS)[kind]

    async def take(self, share: Share) -> bool:
        """Wait for a permit. Returns whether it had to wait. Raises `TooMany` or, if it waits too long, `Problem`."""
        if not self.admits(share):
            raise TooMany
        self._load.count(slot_of(share), 1)
        try:
            return await self.take_again(share)
        except BaseException:
            self._load.count(slot_of(share), -1)
            raise

    async def take_again(self, share: Share) -> bool:
        """Wait for a permit of a request that counts already. Returns and raises what `take` does."""
        running = self._running.get(share, 0)
        if self._free and running < self._permits(share.kind) and share not in self._queues:
            self._running[share] = running + 1
            self._free -= 1
            return False
        await self._wait(share)
        return True

    async def _wait(self, share: Share) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(share, deque()).append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except TooMany:
            raise
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the permit came at the same moment
                self.lay_down(share)
            else:
                self._leave(share, turn)
            if isinstance(error, TimeoutError):
                raise self._too_late() from None
            raise

    def give_back(self, share: Share) -> None:
        """Give a permit back after the work."""
        self.uncount(share)
        self.lay_down(share)

    def uncount(self, share: Share) -> None:
        """Say that a request is over, which has laid its permit down before."""
        self._load.count(slot_of(share), -1)

    def lay_down(self, share: Share) -> None:
        """Give a permit to whoever is next; its request still counts as under way."""
        self._free += 1
        self._running[share] -= 1
        if not self._running[share]:
            del self._running[share]
        while self._free and self._grant():
            pass

    def _grant(self) -> bool:
        """Give a permit to the share whose turn it is; False if no share may have one."""
        share = next((one for one in self._queues if self._running.get(one, 0) < self._permits(one.kind)), None)
        if share is None:
            return False
        queue = self._queues.pop(share)
        turn = queue.popleft()
        if queue:
            self._queues[share] = queue  # behind the others
        if not turn.done():  # else it was given up in this moment
            turn.set_result(None)
            self._running[share] = self._running.get(share, 0) + 1
            self._free -= 1
        return True

    def _leave(self, share: Share, turn: "asyncio.Future[None]") -> None:
        queue = self._queues.get(share, deque())
        if turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[share]

    def _too_late(self) -> Problem:
        return overloaded(f"the request's turn did not come within {self._seconds:g} s; try again")


class Permit:
    """The permit of one request, from when it was taken until it is given back."""

    def __init__(self, turns: Turns, share: Share) -> None:
        self.owner = share.owner
        self._turns, self._share = turns, share
        self._is_held, self._is_over = True, False
        self._callbacks: list[Callable[[], None]] = []

    @contextlib.asynccontextmanager
    async def laid_down(self) -> AsyncIterator[None]:
        """Let others have the permit while the request waits for something outside the service; then take it again.

        The request still counts as one of its owner's. Raises `Problem` 503 if the permit does not come again in time.
        """
        self._turns.lay_down(self._share)
        self._is_held = False
        yield
        await self._turns.take_again(self._share)
        self._is_held = True

    def when_over(self, callback: Callable[[], None]) -> None:
        """Have a function called when the permit is given back."""
        self._callbacks.append(callback)

    def give_back(self) -> None:
        """Give the permit back; only the first call counts."""
        if self._is_over:
            return
        self._is_over = True
        for callback in self._callbacks:
            callback()
        if self._is_held:
            self._turns.give_back(self._share)
        else:
            self._turns.uncount(self._share)


@lru_cache(4096)
def slot_of(share: Share) -> int:
    """Where the workers count the requests of a share; two that have one slot are counted as one."""
    return zlib.crc32(repr(share).encode()) % SHARE_SLOTS
