"""The sync and the async client: how each sends a call, waits and retries. `leo_client.calls` holds the calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Self

import httpx

from leo_client.answers import Task
from leo_client.call import Answer, Call, Outcome
from leo_client.calls import Calls
from leo_client.connecting import connect

LOCAL = "http://127.0.0.1:8000"


class Client(Calls):
    """A client of the service. It may be shared by threads.

    A call that fails because the service is busy or away is sent again, if that does no harm. A creation carries
    an `Idempotency-Key`, so that it makes one task however often it is sent.

    Args:
        base_url: where the service listens.
        key: sent as `Authorization: Bearer KEY`, where the service asks for keys.
        timeout: seconds that a connection, or a wait for the next bytes, may take.
        retries: how often a call is sent again.

    Raises:
        BadSettings: the URL, the key or a proxy that the environment names cannot be used.

    Example:
        with Client("http://127.0.0.1:8000") as client:
            task = client.create({"ring": Path("ring.png"), "ex": Path("ex.png")})
            print(client.predict(task.task_id, [Path("what.png")])[0].label)
    """

    def __init__(self, base_url: str = LOCAL, *, key: str | None = None, timeout: float = 60, retries: int = 4) -> None:
        self._http = connect(httpx.Client, base_url, key, timeout)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
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
                outcome = self._http.request(call.method, call.path, **call.options)
            except httpx.RequestError as error:
                outcome = error
            pause = call.pause(outcome, attempt)
            if pause is None or attempt == self._retries:
                return call.answer(outcome)
            time.sleep(pause)
            attempt += 1


class AsyncClient(Calls):
    """`Client` for asyncio: the same arguments and calls, to be awaited.

    Example:
        async with AsyncClient("http://127.0.0.1:8000") as client:
            task = await client.create({"ring": Path("ring.png"), "ex": Path("ex.png")})
            async for task in client.tasks():
                print(task.name)
    """

    def __init__(self, base_url: str = LOCAL, *, key: str | None = None, timeout: float = 60, retries: int = 4) -> None:
        self._http = connect(httpx.AsyncClient, base_url, key, timeout)
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
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
                outcome = await self._http.request(call.method, call.path, **call.options)
            except httpx.RequestError as error:
                outcome = error
            pause = call.pause(outcome, attempt)
            if pause is None or attempt == self._retries:
                return call.answer(outcome)
            await asyncio.sleep(pause)
            attempt += 1
