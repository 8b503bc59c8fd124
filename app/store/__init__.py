"""Where tasks live: a small protocol, and what one task's record holds."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class StoreUnavailable(Exception):
    """The store cannot be reached or refuses to work right now."""


@dataclass(frozen=True)
class TaskRecord:
    """A task as stored: its adapted codes and what they mean, not the head they decode to."""

    task_id: str
    owner: str  # of the key that made it; empty while there are no keys
    name: str | None
    model: str
    model_version: str
    shots: dict[str, int]  # by label; its order is that of the codes
    codes: NDArray[np.float32]  # [N, L]
    created_at: float  # seconds since 1970
    expires_at: float | None
    adaptation: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return list(self.shots)


class TaskStore(Protocol):
    """Every method may raise `StoreUnavailable`. Expired tasks are as good as gone at once."""

    async def add(self, record: TaskRecord) -> None:
        """Durable when it returns."""

    async def get(self, task_id: str, owner: str) -> TaskRecord | None:
        """The owner's task, or None."""

    async def delete(self, task_id: str, owner: str) -> bool:
        """Whether there was one."""

    async def page(self, owner: str, limit: int, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        """Newest first, and the next page's cursor. Raises `ValueError` for a cursor that is none of ours."""

    async def close(self) -> None: ...
