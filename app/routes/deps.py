"""What a route needs, as types: its signature says all of it.

The functions are async because FastAPI sends every other kind to a thread, which costs half a millisecond.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.keys import Key, Keys
from app.models import Models
from app.readiness import Readiness
from app.settings import Settings
from app.tasks import Tasks

# Whose tasks a request sees where there are no keys: everybody is the same nobody.
NOBODY = ""


async def _tasks(request: Request) -> Tasks:
    return request.app.state.tasks  # type: ignore[no-any-return]


async def _models(request: Request) -> Models:
    return request.app.state.models  # type: ignore[no-any-return]


async def _readiness(request: Request) -> Readiness:
    return request.app.state.readiness  # type: ignore[no-any-return]


async def _settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]


async def _key(request: Request) -> Key | None:
    return getattr(request.state, "key", None)


async def _owner(request: Request) -> str:
    key = await _key(request)
    return key.owner if key else NOBODY


async def _owners(request: Request) -> set[str]:
    keys: Keys | None = request.app.state.keys
    return keys.owners if keys else {NOBODY}


@dataclass(frozen=True)
class Call:
    """What the busiest calls need, in one: each thing that FastAPI gathers costs 20 µs."""

    tasks: Tasks
    settings: Settings
    owner: str
    key: Key | None


async def call(request: Request) -> Call:
    state = request.app.state
    return Call(state.tasks, state.settings, await _owner(request), await _key(request))


TheCall = Annotated[Call, Depends(call)]
TheTasks = Annotated[Tasks, Depends(_tasks)]
TheModels = Annotated[Models, Depends(_models)]
TheReadiness = Annotated[Readiness, Depends(_readiness)]
TheSettings = Annotated[Settings, Depends(_settings)]
#: What was presented, or None where there are no keys.
TheKey = Annotated[Key | None, Depends(_key)]
#: Everybody who may have tasks.
TheOwners = Annotated[set[str], Depends(_owners)]
#: Whose tasks a request sees.
TheOwner = Annotated[str, Depends(_owner)]
