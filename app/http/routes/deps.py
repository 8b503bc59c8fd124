"""What a route needs, as types: its signature says all of it.

The functions are async because FastAPI sends every other kind to a thread, which costs half a millisecond.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from app.http.keys import Key, Keys
from app.inference.models import Models
from app.inference.readiness import Readiness
from app.settings import Settings
from app.tasks.service import Tasks

# Whose tasks a request sees where there are no keys: everybody is the same nobody.
ANONYMOUS = ""


async def _tasks(request: Request) -> Tasks:
    return request.app.state.tasks  # type: ignore[no-any-return]


async def _models(request: Request) -> Models:
    return request.app.state.models  # type: ignore[no-any-return]


async def _readiness(request: Request) -> Readiness:
    return request.app.state.readiness  # type: ignore[no-any-return]


async def _settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]


def key_of(request: Request) -> Key | None:
    """What was presented, which `app.http.middleware.limits` found to be good."""
    key: Key | None = request.scope.get("state", {}).get("key")
    return key


async def _key(request: Request) -> Key | None:
    return key_of(request)


async def _owner(request: Request) -> str:
    key = key_of(request)
    return key.owner if key else ANONYMOUS


async def _owners(request: Request) -> set[str]:
    keys: Keys | None = request.app.state.keys
    return keys.owners if keys else {ANONYMOUS}


@dataclass(frozen=True)
class Call:
    """What the busiest calls need, in one: each thing that FastAPI gathers costs 20 µs."""

    tasks: Tasks
    settings: Settings
    owner: str
    key: Key | None


async def call(request: Request) -> Call:
    state, key = request.app.state, key_of(request)
    return Call(state.tasks, state.settings, key.owner if key else ANONYMOUS, key)


CallDep = Annotated[Call, Depends(call)]
TasksDep = Annotated[Tasks, Depends(_tasks)]
ModelsDep = Annotated[Models, Depends(_models)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
SettingsDep = Annotated[Settings, Depends(_settings)]
#: What was presented, or None where there are no keys.
KeyDep = Annotated[Key | None, Depends(_key)]
#: Everybody who may have tasks.
OwnersDep = Annotated[set[str], Depends(_owners)]
#: Whose tasks a request sees.
OwnerDep = Annotated[str, Depends(_owner)]


IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="a name of yours for this request: sent again within 24 hours, it gets the first answer again",
    ),
]
