"""Dependencies of the routes, as annotated types: the services, the settings and the request's key."""

import re
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Request
from starlette.types import Scope

from app.http.keys import Key
from app.http.reading import query_options
from app.inference import client
from app.inference.models import Models
from app.inference.readiness import Readiness
from app.observability.scrapes import Scrapes
from app.problems import Problem
from app.settings import Settings
from app.shared_state import SharedState
from app.tasks.changes import Terms
from app.tasks.service import Tasks

ANONYMOUS = ""  # the owner of every task if no keys are configured

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="a name you choose for this request: if you repeat it with the same name within 24 hours, nothing "
        "is done twice. A repeated creation gets the first answer again, a repeated change the task as it is then",
    ),
]


CONDITIONS = {b"if-none-match": "If-None-Match", b"if-unmodified-since": "If-Unmodified-Since"}
CONDITIONS |= {b"if-modified-since": "If-Modified-Since"}
TERMS = CONDITIONS | {b"if-match": "If-Match", b"idempotency-key": "Idempotency-Key"}

TAG = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e]*)"\s*')


def _revisions(
    if_match: Annotated[
        str | None,
        Header(
            description="make the change only if the task still has this `ETag`; several are separated by commas, and "
            "`*` means any. Otherwise 412"
        ),
    ] = None,
) -> frozenset[int] | None:
    """The revisions that `If-Match` names; None for any. A tag that names none of this service's matches no task.

    A weak tag counts as a strong one, since gateways that compress answers weaken their tags.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [TAG.fullmatch(tag) for tag in if_match.split(",")]
    if not all(tags):
        raise Problem(422, "the header If-Match is no list of entity tags: send the ETag of the task, with its quotes")
    numbers = [tag[1] for tag in tags if tag]
    return frozenset(int(number) for number in numbers if len(number) < 16 and number.isascii() and number.isdecimal())


IfMatch = Annotated[frozenset[int] | None, Depends(_revisions)]


def _terms(revisions: IfMatch = None, idempotency_key: IdempotencyKey = None) -> Terms:
    return Terms(revisions, idempotency_key)


TermsDep = Annotated[Terms, Depends(_terms)]  # those of every change of a task: `If-Match` and `Idempotency-Key`


@dataclass(frozen=True)
class Context:
    """The services and the request's key. One dependency for all, since FastAPI takes 20 µs to resolve each."""

    tasks: Tasks
    models: Models
    readiness: Readiness
    settings: Settings
    shared_state: SharedState
    scrapes: Scrapes
    key: Key | None = None  # the request's key, checked by the middleware; None if no keys are configured

    @property
    def owner(self) -> str:
        """The owner whose tasks this request may read and change."""
        return self.key.owner if self.key else ANONYMOUS

    @property
    def max_tasks(self) -> int | None:
        """The most live tasks that the key's owner may have; None for no limit."""
        return self.key.max_tasks if self.key else None


def check_query_is_utf8(scope: Scope) -> None:
    """Raise `Problem` 422 if what follows the question mark is not UTF-8, which would be read as another text."""
    query = scope["query_string"]
    if b"%" in query:
        try:
            unquote_to_bytes(query).decode()
        except UnicodeDecodeError:
            raise Problem(422, "what follows the question mark is not UTF-8: send text in UTF-8, as %C3%A9") from None


def check_terms(scope: Scope) -> None:
    """Raise `Problem` 422 where a condition or a name of the request stands there twice, or is none of this service."""
    sent = [name for name, _ in scope["headers"] if name in TERMS]
    for name in sent:
        if sent.count(name) > 1:
            raise Problem(422, f"the header {TERMS[name]} is given more than once; give it once")
    if scope["method"] in ("GET", "HEAD"):  # answers are never cached, so that these change nothing
        return
    for name in sent:
        if name in CONDITIONS:
            raise Problem(422, f"{TERMS[name]} is no condition of a change here: send If-Match with the task's ETag")


async def get_context(request: Request) -> Context:
    """The context of a request. Async: FastAPI runs sync functions in a thread, which costs half a millisecond."""
    client.receive.set(request.receive)
    check_terms(request.scope)
    if request.scope["query_string"]:
        check_query_is_utf8(request.scope)
        query_options(request)  # refuses one that is given twice
    context: Context = request.app.state.context
    key = request.scope.get("state", {}).get("key")
    return context if key is None else replace(context, key=key)


ContextDep = Annotated[Context, Depends(get_context)]
