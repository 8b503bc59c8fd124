"""The errors that a call may raise."""

from typing import Any

import httpx


class LeoError(Exception):
    """A call failed."""


class BadSettings(LeoError, ValueError):
    """The URL, the key or a proxy of the environment cannot be used. The message never shows a key or a password."""


class Unreachable(LeoError):
    """The service did not answer, in any of the attempts."""


class ProblemError(LeoError):
    """The service refused a call; this holds its problem document (RFC 9457).

    Attributes:
        status: the HTTP status.
        detail: what is wrong and how to fix it.
        document: the whole problem document; empty if something before the service answered.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.document = document
        self.detail = str(document.get("detail") or document.get("title") or f"the server answered {status}")
        super().__init__(f"{status}: {self.detail}")

    @property
    def index(self) -> int | None:
        """Which of the images is at fault, counted from 0; None if it is none of them."""
        index = self.document.get("index")
        return index if isinstance(index, int) else None

    @classmethod
    def from_response(cls, response: httpx.Response) -> "ProblemError":
        """Read a refusal, or a redirection. Proxies answer with something other than a problem document."""
        try:
            document = response.json()
        except ValueError:
            document = {}
        if response.has_redirect_location:
            document = {"detail": f"the server redirects to {response.headers['location']}: is the base URL right?"}
        return cls(response.status_code, document if isinstance(document, dict) else {})
