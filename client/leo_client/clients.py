"""The sync and the async client: how each sends a call, waits and retries. `leo_client.calls` holds the calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Generic, Self

import httpx

from leo_client.answers import Task
from leo_client.call import Answer, Call, Outcome
from leo_client.calls import Calls
from leo_client.connecting import Http, Service, connect, proxy_between
from leo_client.errors import LeoError


class Connected(Calls, Generic[Http]):
    """What both clients are made with: where the service is, and the client of httpx that sends to it."""

    _kind: type[Http]

    def __init__(
        self,
        base_url: str | httpx.URL | None = None,
        *,
        key: str | None = None,
        timeout: float | httpx.Timeout | None = 60,
        retries: int = 4,
        http_client: Http | None = None,
    ) -> None:
        self._service = Service.named(base_url, key)
        self._http: Http = connect(self._kind, http_client, self._service.base_url, timeout)
        self._owns_http = http_client is None
        self._retries = retries

    def _unusable(self, error: RuntimeError) -> LeoError:
        """What a `RuntimeError` of httpx or asyncio means: that nothing can be sent any more."""
        if self._http.is_closed:
            return LeoError("the client is closed: make a new one, or close it later")
        return LeoError(f"the client cannot be used here ({error}): use one client in each event loop")


class Client(Connected[httpx.Client]):
    """A client of the service. It may be shared by threads.

    A call that fails because the service is busy or away is sent again, if that does no harm. A creation, an import
    and what adds examples carry an `Idempotency-Key`, so that they are done once however often they are sent.

    Args:
        base_url: where the service listens. None takes LEO_URL from the environment, or else http://127.0.0.1:8000.
        key: sent as `Authorization: Bearer KEY`, where the service asks for keys. None takes LEO_API_KEY from the
            environment; an empty one sends none.
        timeout: seconds that a connection, or a wait for the next bytes, may take; or an `httpx.Timeout`.
        retries: how often a call is sent again.
        http_client: an `httpx.Client` to send with, for its proxies, certificates or transport; its own timeout
            counts, and whoever made it closes it.

    Raises:
        BadSettings: the URL, the key, the timeout, or a proxy or certificate file of the environment cannot be used.

    Example:
        with Client("http://127.0.0.1:8000") as client:
            task = client.create({"ring": ["ring.png", "ring2.png"], "ex": ["ex.png", "ex2.png"]})
            print(client.predict(task.task_id, "what.png")[0].label)
    """

    _kind = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def tasks(self, *, name: str | None = None, label: str | None = None, model: str | None = None) -> Iterator[Task]:
        """Go through all tasks, newest first. The arguments select tasks as those of `page` do."""
        page = self.page(limit=100, name=name, label=label, model=model)
        yield from page.tasks
        while page.next_cursor is not None:
            page = self.page(limit=100, cursor=page.next_cursor, name=name, label=label, model=model)
            yield from page.tasks

    def _send(self, call: Call[Answer]) -> Answer:
        attempt = 0
        while True:
            outcome: Outcome
            try:
                outcome = self._http.request(**call.arguments(self._service))
            except httpx.RequestError as error:
                outcome = error
            except RuntimeError as error:
                raise self._unusable(error) from error
            pause = call.pause(outcome, attempt)
            if pause is None or attempt == self._retries:
                proxy = proxy_between(self._service.base_url) if self._owns_http else None
                return call.answer(outcome, proxy, attempt=attempt)
            time.sleep(pause)
            attempt += 1


class AsyncClient(Connected[httpx.AsyncClient]):
    """`Client` for asyncio: the same arguments and calls, to be awaited.

    Example:
        async with AsyncClient("http://127.0.0.1:8000") as client:
            task = await client.create({"ring": "ring.png", "ex": "ex.png"})
            async for task in client.tasks():
                print(task.name)
    """

    _kind = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def tasks(
        self, *, name: str | None = None, label: str | None = None, model: str | None = None
    ) -> AsyncIterator[Task]:
        """Go through all tasks, newest first. The arguments select tasks as those of `page` do."""
        page = await self.page(limit=100, name=name, label=label, model=model)
        for task in page.tasks:
            yield task
        while page.next_cursor is not None:
            page = await self.page(limit=100, cursor=page.next_cursor, name=name, label=label, model=model)
            for task in page.tasks:
                yield task

    async def _send(self, call: Call[Answer]) -> Answer:
        attempt = 0
        while True:
            outcome: Outcome
            try:
                outcome = await self._http.request(**call.arguments(self._service))
            except httpx.RequestError as error:
                outcome = error
            except RuntimeError as error:
                raise self._unusable(error) from error
            pause = call.pause(outcome, attempt)
            if pause is None or attempt == self._retries:
                proxy = proxy_between(self._service.base_url) if self._owns_http else None
                return call.answer(outcome, proxy, attempt=attempt)
            await asyncio.sleep(pause)
            attempt += 1
