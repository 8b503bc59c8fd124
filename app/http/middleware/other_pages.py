"""Refuses what web pages of other sites ask of a service without keys.

Without keys, whoever reaches the service may use it, and the browser of a user reaches what its user reaches. So any
page that the user visits could send requests, and by DNS rebinding (a name of its own that suddenly leads to 127.0.0.1)
read the answers too. With keys no check is needed: a page of another site has none to send.
"""

import functools
import ipaddress
import re
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.middleware.refusal import refuse
from app.problems import Problem

AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\]+?)\.?(?::(?P<port>[0-9]{1,5}))?")
ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>.+)")
DEFAULT_PORTS = {"http": "80", "https": "443"}
LONGEST_NAME = 253  # characters of a host, by DNS
PROBES = {"/healthz", "/readyz"}  # load balancers ask them under any name, and the answers are no secret
PAGES = {"/", "/docs", "/redoc"}  # pages of other sites may link to them
# Names that nobody can own on the Internet, beside those without a dot.
PRIVATE_SUFFIXES = (".local", ".internal", ".home.arpa")


class OwnNames:
    """The host names under which a service without keys is reached."""

    def __init__(self, listens_on: str, named: str) -> None:
        """`listens_on`: the address or name it listens on. `named`: further names, separated by commas; `*` is any.

        Raises `ValueError` for a text that is no name.
        """
        address = _address(listens_on.lower())
        self._only_loopback = listens_on.lower() == "localhost" if address is None else address.is_loopback
        self._names = {"localhost", listens_on.lower()}
        if not self._only_loopback:
            self._names.add(socket.gethostname().lower())
        self._named = {_to_name(text) for text in named.split(",") if text.strip()}
        self.allows = functools.lru_cache(256)(self._allows)

    def names(self, name: str) -> bool:
        """Whether the settings name this host: itself, as `*.example.com`, or as `*`."""
        if len(name) > LONGEST_NAME:  # of which every part would be looked at
            return "*" in self._named
        parents = (name[at:] for at, character in enumerate(name) if character == ".")
        return bool(self._named) and (
            name in self._named or "*" in self._named or any(f"*{parent}" in self._named for parent in parents)
        )

    def _allows(self, name: str) -> bool:
        """Whether requests under this name, in lower case, are not from a page that has bent its own name."""
        if name in self._names or name.endswith(".localhost") or self.names(name):
            return True
        address = _address(name.strip("[]"))
        if address is not None:
            # An address cannot be bent. From outside, the service cannot know which ones lead to it.
            return address.is_loopback or not self._only_loopback
        return not self._only_loopback and ("." not in name or name.endswith(PRIVATE_SUFFIXES))


class OtherPages:
    """ASGI middleware that answers 403 to requests under a foreign name and to those of pages of other sites."""

    def __init__(self, app: ASGIApp, own: OwnNames) -> None:
        self.app, self._own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            try:
                self._check(scope)
            except Problem as problem:
                return await refuse(problem, scope, receive, send)
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise `Problem` 400 or 403 for a request that a page of another site may have made."""
        hosts, origins, sites = [], [], []
        for header, value in scope["headers"]:
            if header == b"host":
                hosts.append(value.decode("latin-1").lower())
            elif header == b"origin":
                origins.append(value.decode("latin-1").lower())
            elif header == b"sec-fetch-site":
                sites.append(value)
        if len(hosts) > 1:
            raise Problem(400, "the request has several Host headers; send one")
        host = AUTHORITY.fullmatch(hosts[0]) if hosts else None
        if hosts and not (host and self._own.allows(host["name"])):  # browsers always send one, some probes do not
            raise _foreign_host(host["name"] if host else None)
        for site in sites:
            if site not in (b"same-origin", b"none") and not self._own.names("*") and not _is_link_to_page(scope):
                raise _foreign_page()
        for origin in origins:
            if not self._is_own_origin(origin, host, vouched=b"same-origin" in sites):
                raise _foreign_page()

    def _is_own_origin(self, origin: str, host: re.Match[str] | None, *, vouched: bool) -> bool:
        """Whether the page of this origin is the service's own. `vouched`: the browser says so too."""
        if self._own.names("*"):
            return True
        found = ORIGIN.fullmatch(origin)
        page = AUTHORITY.fullmatch(found["authority"]) if found else None
        if found is None or page is None:
            return vouched and origin == "null"  # browsers hide the origin of a page that sends no referrer
        if host and page["name"] == host["name"]:
            default = DEFAULT_PORTS.get(found["scheme"])
            return vouched or (page["port"] or default) == (host["port"] or default)
        return self._own.names(page["name"])  # a gateway has put another Host into the request


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _to_name(text: str) -> str:
    """A name of the settings, as it stands in a `Host` header. Raises `ValueError`."""
    try:
        found = AUTHORITY.fullmatch(text.strip().lower().encode("idna").decode())
    except UnicodeError:
        found = None
    if not found:
        raise ValueError(f"LEO_ALLOWED_HOSTS: {text.strip()!r} is no host name; write it as in leo.example.com")
    return found["name"]


def _is_link_to_page(scope: Scope) -> bool:
    """Whether the request opens one of the service's pages in a tab, as a link does."""
    headers = dict(scope["headers"])
    return (
        scope["path"] in PAGES
        and scope["method"] in ("GET", "HEAD")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest", b"document") == b"document"
    )


def _foreign_host(name: str | None) -> Problem:
    shown = f"{name[:100]} is not one of them" if name else "the Host header holds no name"
    return Problem(
        403,
        f"a service without keys answers only under its own names, and {shown}. If this one leads to it, add it to "
        "LEO_ALLOWED_HOSTS, or make keys and set LEO_KEYS_FILE",
    )


def _foreign_page() -> Problem:
    return Problem(
        403,
        "a service without keys refuses what web pages of other sites ask. Call it from a program or from its own "
        "page. If this page is its own, the gateway must pass on Host with the port, or LEO_ALLOWED_HOSTS must name "
        "the page's host",
    )
