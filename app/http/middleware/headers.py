"""Security headers on every answer, and redirects that hold behind any gateway."""

from urllib.parse import urlsplit, urlunsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# FastAPI's /docs page has inline scripts and styles. Images may come from the service or from the reader's own files.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
API_POLICY = "default-src 'none'; frame-ancestors 'none'"

COMMON_HEADERS = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}
PAGE_HEADERS = COMMON_HEADERS | {b"content-security-policy": PAGE_POLICY.encode()}
API_HEADERS = COMMON_HEADERS | {b"content-security-policy": API_POLICY.encode()}
NOT_STORED = {b"cache-control": b"no-store"}
# The headers of a page, and those of any other answer.
ELSEWHERE, ON_TASKS = (PAGE_HEADERS, API_HEADERS), (PAGE_HEADERS | NOT_STORED, API_HEADERS | NOT_STORED)


class SecurityHeaders:
    """ASGI middleware that adds security headers to every answer, and takes the host out of redirects.

    It adds no CORS headers, so that browsers keep the answers from other sites' scripts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        # Before routing, which may change the path.
        of_page, of_api = ON_TASKS if scope["path"].startswith("/tasks") else ELSEWHERE

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = dict(message["headers"])
                headers = of_page if present.get(b"content-type", b"").startswith(b"text/html") else of_api
                missing = [(name, value) for name, value in headers.items() if name not in present]
                message["headers"] = [*message["headers"], *missing]
                if b"location" in present:
                    message["headers"].remove((b"location", present[b"location"]))
                    message["headers"].append((b"location", _without_host(present[b"location"])))
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _without_host(location: bytes) -> bytes:
    """A location as a path: only a gateway in front knows the scheme and the host that the client sees."""
    parts = urlsplit(location)
    return urlunsplit((b"", b"", b"/" + parts.path.lstrip(b"/"), parts.query, b""))
