"""One call of the service: the request to send, whether to send it again, and how to read the answer."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from app.client.errors import ProblemError, Unreachable

Answer = TypeVar("Answer", covariant=True)
Outcome: TypeAlias = httpx.Response | httpx.TransportError

BUSY = (429, 502, 503, 504)  # statuses that may be gone a moment later


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """An HTTP request whose response `read` turns into an `Answer`."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `httpx.Client.request`: `params`, `files`, `json` and so on."""
    repeatable: bool = True
    """Whether sending it twice does what sending it once does."""

    def pause(self, outcome: Outcome, attempt: int) -> float | None:
        """Seconds to wait before the call is sent again after `attempt` (from 0); None if it must not be."""
        response = outcome if isinstance(outcome, httpx.Response) else None
        if not self.repeatable or isinstance(outcome, httpx.UnsupportedProtocol):  # the URL is wrong
            return None
        if response and response.status_code not in BUSY:
            return None
        retry_after = response.headers.get("retry-after", "") if response else ""
        if retry_after.isdigit():
            return min(float(retry_after), 30.0)
        # Clients that failed together must not all come back together.
        return min(0.1 * 2.0**attempt, 5.0) * random.uniform(0.5, 1)  # noqa: S311  # nosec B311

    def answer(self, outcome: Outcome) -> Answer:
        """Read the answer.

        Raises:
            ProblemError: the service refused the call.
            Unreachable: there was no response.
        """
        if isinstance(outcome, httpx.TransportError):
            url = outcome.request.url.copy_with(query=None)
            raise Unreachable(f"no answer from {url}: {outcome or type(outcome).__name__}") from outcome
        if outcome.is_error:
            raise ProblemError.from_response(outcome)
        return self.read(outcome)
