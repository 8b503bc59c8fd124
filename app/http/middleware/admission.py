"""Admits requests: receives the body, then waits for a permit to work; refuses what is too much, unread."""

import ipaddress
from functools import lru_cache

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.body_hints import LEAVE_TO_LIBRARY
from app.http.keys import Key
from app.http.middleware.body import Bodies, has_body, next_if_here, replay
from app.http.middleware.refusal import refuse
from app.http.turns import Kind, Permit, Share, TooMany, Turns
from app.problems import CLIENT_CLOSED_REQUEST, Problem

# What supervisors and monitors ask, who must be answered also while the service refuses others.
ALWAYS_ADMITTED = {"/healthz", "/readyz", "/metrics"}
SMALL_BODY = 2**16  # bytes
LARGE_BODY = 2**18  # bytes; a request of more is one of those that take long
# Each part takes time to read, and these are read several times before a handler could refuse them.
MOST_OPTIONS, LONGEST_CONTENT_TYPE = 64, 1000
LONGEST_ADDRESS = 64  # characters that are looked at; a gateway passes on whatever text its client calls an address
REFUSED_AS_OVERLOAD = "leo.refused"  # set in the scope of such a request: the log counts these in one line a second
PERMIT = "leo.permit"  # in the scope of a request that has one: its `Permit`
TOO_MANY_RESPONSE = TooMany().response()


class Admission:
    """ASGI middleware that gives each request a permit, once its body has come.

    A request whose owner has too many under way is refused before its body is read. A request counts from when its
    body has been received, so slow clients take nobody's place; what they may take of memory and time is limited by
    `bodies`. The permit is given back when the answer begins: how fast the client reads it does not matter.
    """

    def __init__(self, app: ASGIApp, bodies: Bodies, turns: Turns) -> None:
        self.app, self._bodies, self._turns = app, bodies, turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            _check_head(scope)
        except Problem as problem:
            return await refuse(problem, scope, receive, send)
        if scope["path"] in ALWAYS_ADMITTED:
            return await self.app(scope, receive, send)
        body, owner = b"", owner_of(scope)
        try:
            declared = self._bodies.check_declared(scope)
            share = Share(owner, kind_of(scope, declared))
            if not self._turns.admits(share):
                raise TooMany
            if has_body(scope):
                body = await self._bodies.receive(receive)
            if len(body) != declared:  # it came in chunks
                share = Share(owner, kind_of(scope, len(body)))
            if await self._turns.take(share) and has_left(receive):
                self._turns.give_back(share)
                raise ClientDisconnect
        except TooMany:
            await self._refuse(scope, receive, send)
        except Problem as problem:
            await refuse(problem, scope, receive, send)
        except ClientDisconnect:
            await Response(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)
        else:
            permit = scope[PERMIT] = Permit(self._turns, share)

            async def send_and_give_back(message: Message) -> None:
                permit.give_back()
                await send(message)

            try:
                await self.app(scope, replay(body, receive), send_and_give_back)
            finally:
                permit.give_back()
        finally:
            self._bodies.release(body)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[REFUSED_AS_OVERLOAD] = True
        if self._bodies.check_declared(scope) <= SMALL_BODY:
            # Most of a small body has arrived already. Keeping the connection costs less than accepting a new one.
            await TOO_MANY_RESPONSE(scope, receive, send)
        else:
            await refuse(TooMany(), scope, receive, send)


def kind_of(scope: Scope, body_bytes: int) -> Kind:
    """The kind of a request, by what it may take."""
    if scope["method"] in ("GET", "HEAD"):
        return "read"
    return "small" if body_bytes <= LARGE_BODY else "large"


def owner_of(scope: Scope) -> str:
    """Whose share a request counts in: its key's owner, or the address that it comes from where no keys are in use."""
    return share_owner(scope.get("state", {}).get("key"), scope.get("client"))


def share_owner(key: Key | None, client: tuple[str, int] | None) -> str:
    """The same of a key and a client's address and port."""
    if key is not None:
        return f"key:{key.owner}"
    return network_of(client[0][:LONGEST_ADDRESS]) if client else ""


@lru_cache(4096)
def network_of(address: str) -> str:
    """An IPv4 address, or the /64 network of an IPv6 address: one client may use all addresses of such a network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def has_left(receive: Receive) -> bool:
    """Whether a request's client has left; `receive` waits as long as it has not."""
    message = next_if_here(receive)
    return message is not None and message["type"] == "http.disconnect"


def _check_head(scope: Scope) -> None:
    """Raise `Problem` 422 for a request with too many options or too long a Content-Type."""
    if scope["query_string"].count(b"&") >= MOST_OPTIONS:
        raise Problem(422, f"there are more than {MOST_OPTIONS} options after the question mark; send each once")
    for name, value in scope["headers"]:
        if name == b"content-type" and len(value) > LONGEST_CONTENT_TYPE:
            raise Problem(422, f"the header Content-Type is over {LONGEST_CONTENT_TYPE} bytes: {LEAVE_TO_LIBRARY}")
