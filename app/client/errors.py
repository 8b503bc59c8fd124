"""What can go wrong between a caller and the service."""

from typing import Any

import httpx


class LeoError(Exception):
    """Any failure of a call."""


class Unreachable(LeoError):
    """The service did not answer, however often it was asked."""


class ProblemError(LeoError):
    """The service refused: its RFC 9457 problem document, as an exception."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.document = document
        self.detail = str(document.get("detail") or document.get("title") or f"the server answered {status}")
        super().__init__(f"{status}: {self.detail}")

    @property
    def index(self) -> int | None:
        """Which of the images is at fault, counted from 0, if one is."""
        index = self.document.get("index")
        return index if isinstance(index, int) else None

    @classmethod
    def of(cls, response: httpx.Response) -> "ProblemError":
        """Whatever stands between may answer with something else than a problem document."""
        try:
            document = response.json()
        except ValueError:
            document = {}
        return cls(response.status_code, document if isinstance(document, dict) else {})
