"""Answers exceptions that nothing else handles in the form of any other error."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import FAILED

log = logging.getLogger(__name__)


class Failures:
    """ASGI middleware that logs an exception which nothing handles, and answers 500.

    It is outside of all other but those that every answer passes: the log and the security headers.

    Starlette does so outside of all other: without a request id and security headers, and then ends the connection,
    which fails the next request of a client that keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if has_begun or scope["type"] != "http":  # half an answer cannot be taken back: the connection ends
                raise
            log.error("the service failed on a request", exc_info=error)
            await FAILED.response()(scope, receive, send)
