"""What routes need besides their own parameters, as types: a route's signature says all of it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from app.http.keys import Key, Keys
from app.inference.models import Models
from app.inference.readiness import Readiness
from app.settings import Settings
from app.shared_state import SharedState
from app.tasks.service import Tasks

ANONYMOUS = ""  # the owner of every task where there are no keys

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="a name of yours for this request: sent again within 24 hours, it gets the first answer again",
    ),
]


@dataclass(frozen=True)
class Context:
    """The service, and who asks. One dependency, since each that FastAPI resolves costs a request 20 µs."""

    tasks: Tasks
    models: Models
    readiness: Readiness
    settings: Settings
    shared_state: SharedState
    keys: Keys | None  # all of them
    key: Key | None  # the caller's, checked by the middleware; None where there are no keys

    @property
    def owner(self) -> str:
        """Whose tasks the caller sees."""
        return self.key.owner if self.key else ANONYMOUS

    @property
    def owners(self) -> set[str]:
        """Everybody who may have tasks."""
        return self.keys.owners if self.keys else {ANONYMOUS}

    @property
    def max_tasks(self) -> int | None:
        """How many live tasks the caller may have; None: any number."""
        return self.key.max_tasks if self.key else None


# Async, because FastAPI runs every other kind of function in a thread, which costs half a millisecond.
async def get_context(request: Request) -> Context:
    state = request.app.state
    key = request.scope.get("state", {}).get("key")
    return Context(state.tasks, state.models, state.readiness, state.settings, state.shared_state, state.keys, key)


ContextDep = Annotated[Context, Depends(get_context)]
