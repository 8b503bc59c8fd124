"""One call of the service: the request to send, whether to send it again, and how to read the answer."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from leo_client.connecting import Service
from leo_client.errors import LeoError, ProblemError, Unreachable

Answer = TypeVar("Answer", covariant=True)
Outcome: TypeAlias = httpx.Response | httpx.RequestError

#: The URL is wrong, or the answer is not HTTP that can be read.
PERMANENT = (httpx.UnsupportedProtocol, httpx.DecodingError)
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
    removes: bool = False
    """Whether it removes something: a repeated attempt then finds nothing if the answer to an earlier one was lost."""

    def arguments(self, service: Service) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.request`."""
        headers = service.headers | self.options.get("headers", {})
        return {"method": self.method, "url": service.url(self.path)} | self.options | {"headers": headers}

    def pause(self, outcome: Outcome, attempt: int) -> float | None:
        """Seconds to wait before the call is sent again after `attempt` (from 0); None if it must not be."""
        response = outcome if isinstance(outcome, httpx.Response) else None
        if not self.repeatable or isinstance(outcome, PERMANENT):
            return None
        if response and response.status_code not in BUSY:
            return None
        retry_after = response.headers.get("retry-after", "") if response else ""
        if retry_after.isdecimal():
            return min(float(retry_after), 30.0)
        # Clients that failed together must not all come back together.
        return min(0.1 * 2.0**attempt, 5.0) * random.uniform(0.5, 1)  # noqa: S311  # nosec B311

    def answer(self, outcome: Outcome, proxy: str | None = None, *, attempt: int = 0) -> Answer:
        """Read the answer of an `attempt`, from 0. `proxy` describes the proxy that the call went through.

        Raises:
            ProblemError: the service, or something before it, refused the call or sent it elsewhere.
            Unreachable: there was no response.
            LeoError: the answer is not the service's.
        """
        if isinstance(outcome, httpx.RequestError):
            url = outcome.request.url.copy_with(query=None, username=None, password=None)
            reason = "it took too long" if isinstance(outcome, httpx.TimeoutException) else str(outcome)
            message = f"no answer from {url}: {reason or type(outcome).__name__}"
            if proxy:
                message = f"no answer from {url} through {proxy}: {reason or type(outcome).__name__}; "
                message += f"is the proxy right? NO_PROXY={url.host} does without it"
            raise Unreachable(message) from outcome
        if self.removes and attempt > 0 and outcome.status_code == httpx.codes.NOT_FOUND:
            return self.read(outcome)
        if not outcome.is_success:
            raise ProblemError.from_response(outcome, proxy)
        kind = outcome.headers.get("content-type", "no content type")
        try:
            if kind.startswith("text/html"):  # a page for logging in, for example
                raise ValueError("a web page")
            return self.read(outcome)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LeoError(
                f"{outcome.request.url.host} answered {outcome.status_code} with something other than this service "
                f"sends ({kind}): is the base URL that of the service?"
            ) from error
