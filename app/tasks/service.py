"""What creating, changing, reading and asking a task mean, whatever the transport; each has a file beside this one."""

import asyncio
import math
from collections.abc import Callable, Iterable

from app.problems import Problem
from app.store import StoredPage, TaskRecord
from app.store.errors import StoreUnavailable
from app.tasks.asking import Asking
from app.tasks.changing_examples import ChangingExamples
from app.tasks.exporting import Exporting
from app.tasks.importing import Importing

MOST_PAGES = 20  # of the store that are searched for one page of a filtered list


class Tasks(Importing, ChangingExamples, Asking, Exporting):
    """Tasks of the loaded models."""

    async def page(
        self, owner: str, limit: int, cursor: str | None, wanted: Callable[[TaskRecord], bool] | None = None
    ) -> StoredPage:
        """A page of tasks, newest first. Raises `Problem` 422 for a cursor of another service.

        With a filter a page may hold fewer than `limit` although there are more, since the search is bounded.
        """
        found = StoredPage([], {}, cursor)
        for _ in range(MOST_PAGES):
            missing = limit - len(found.records) - len(found.unreadable)
            try:
                page = await self._store.page(owner, missing, found.next_cursor)
            except ValueError:
                raise Problem(422, "the cursor is not one that this service gave out") from None
            records = page.records if wanted is None else list(filter(wanted, page.records))
            found = StoredPage(found.records + records, found.unreadable | page.unreadable, page.next_cursor)
            if len(found.records) + len(found.unreadable) == limit or found.next_cursor is None:
                break
        return found

    def reason_store_is_lost(self) -> str | None:
        """Why no task can be created or changed until a person does something about it, or None."""
        return self._store.reason_lost()

    async def count(self, owners: Iterable[str]) -> float:
        """How many tasks these owners have together; not a number while the store is away."""
        try:
            return sum(await asyncio.gather(*map(self._store.count, owners)))
        except StoreUnavailable:
            return math.nan
