"""Makes pages of metrics one at a time, and seldom enough to leave time for everything else.

Monitors are answered while the service refuses others, so no queue bounds how often a page is asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable

# After a page that took a second, the next begins four later: a flood takes a fifth of a worker's time at most.
REST = 4.0


class Scrapes:
    """Answers all waiting monitors with the same page, which was begun after each of them had asked."""

    def __init__(self, make: Callable[[], Awaitable[bytes]]) -> None:
        """`make` makes a page."""
        self._make = make
        self._next: asyncio.Task[bytes] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._rested_at = 0.0  # by the event loop's clock

    async def page(self) -> bytes:
        """A page with the present values. Raises what `make` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._make_next())
        return await asyncio.shield(self._next)  # a monitor that leaves must not cancel the page of others

    async def _make_next(self) -> bytes:
        now = asyncio.get_running_loop().time
        async with self._one_at_a_time:
            await asyncio.sleep(self._rested_at - now())
            self._next = None  # whoever asks from here on gets a later page
            began = now()
            try:
                return await self._make()
            finally:
                self._rested_at = now() + REST * (now() - began)
