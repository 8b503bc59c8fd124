"""The errors that a call may raise."""

from typing import Any, ClassVar

import httpx


class LeoError(Exception):
    """A call failed."""


class BadSettings(LeoError, ValueError):
    """The URL, the key, the timeout, or a proxy or certificate file of the environment cannot be used.

    The message never shows a key or a password.
    """


class Unreachable(LeoError):
    """The service did not answer, in any of the attempts."""


class ProblemError(LeoError):
    """The service refused a call; this holds its problem document (RFC 9457). There is a subclass for each status.

    Attributes:
        status: the HTTP status.
        detail: what is wrong and how to fix it.
        document: the whole problem document; empty if something before the service answered.
        request_id: what the service's log calls the request; None if something before the service answered.
        retry_after: seconds after which the service asks to be called again; None if it does not say.
    """

    _by_status: ClassVar[dict[int, type["ProblemError"]]] = {}

    def __init__(
        self,
        status: int,
        document: dict[str, Any],
        *,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.document = document
        self.request_id = request_id
        self.retry_after = retry_after
        detail = str(document.get("detail") or document.get("title") or f"the server answered {status}")
        # What is no service of ours may send characters that change what a terminal shows.
        self.detail = "".join(
            each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in detail
        )
        super().__init__(f"{status}: {self.detail}" + (f" (request {request_id})" if request_id else ""))

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        if status is not None:
            ProblemError._by_status[status] = cls

    @property
    def index(self) -> int | None:
        """Which of the images is at fault, counted from 0; None if it is none of them."""
        index = self.document.get("index")
        return index if isinstance(index, int) else None

    @classmethod
    def from_response(cls, response: httpx.Response, proxy: str | None = None) -> "ProblemError":
        """Read a refusal, or a redirection. Proxies answer with something other than a problem document."""
        status = response.status_code
        try:
            document = response.json()
        except (ValueError, RecursionError):
            document = {}
        if not isinstance(document, dict):
            document = {}
        if response.has_redirect_location:
            document = {"detail": f"the server redirects to {response.headers['location']}: is the base URL right?"}
        elif not document and proxy:
            document = {"detail": f"{proxy}, or a server behind it, answered {status}"}
        retry_after = response.headers.get("retry-after", "")
        kind = cls._by_status.get(status, ServerError if status >= 500 else ProblemError)
        return kind(
            status,
            document,
            request_id=response.headers.get("x-request-id"),
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
        )


class BadRequest(ProblemError, status=400):
    """The request cannot be read."""


class Unauthorized(ProblemError, status=401):
    """The service asks for a key, or does not know this one."""


class Forbidden(ProblemError, status=403):
    """The key may not do this, or the service is not to be called under this host name."""


class NotFound(ProblemError, status=404):
    """No such task, or it belongs to another key."""


class Conflict(ProblemError, status=409):
    """The task was made by another version of the model."""


class PreconditionFailed(ProblemError, status=412):
    """The task is at another revision than the one that was named."""


class TooLarge(ProblemError, status=413):
    """The images are more bytes than the service takes at once."""


class Unprocessable(ProblemError, status=422):
    """Images, labels or options are wrong; `index` says which image."""


class TooManyRequests(ProblemError, status=429):
    """The key's limit is reached; `retry_after` says for how long."""


class ServerError(ProblemError):
    """The service cannot answer now: any status from 500 on. It is too busy, or its store is away."""
