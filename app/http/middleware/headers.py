"""Security headers on every answer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A page may run what the service itself serves, and show images that the reader chose.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


API_POLICY = "default-src 'none'; frame-ancestors 'none'"


ALL_HEADERS = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}


PAGE_HEADERS = ALL_HEADERS | {b"content-security-policy": PAGE_POLICY.encode()}


API_HEADERS = ALL_HEADERS | {b"content-security-policy": API_POLICY.encode()}


class SecurityHeaders:
    """ASGI middleware: what browsers must not do with answers. No CORS: other sites' scripts cannot read them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = dict(message["headers"])
                page = given.get(b"content-type", b"").startswith(b"text/html")
                wanted = PAGE_HEADERS if page else API_HEADERS
                if scope["path"].startswith("/tasks"):
                    wanted = wanted | {b"cache-control": b"no-store"}
                missing = [(name, value) for name, value in wanted.items() if name not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self.app(scope, receive, with_headers)
