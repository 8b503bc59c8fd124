"""The two clients. They differ in how they wait; what they send is in `app.client.calls`."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self

import httpx

from app.client import calls
from app.client.answers import Prediction, Task, TaskPage
from app.client.calls import Answer, Call
from app.client.errors import Unreachable
from app.client.images import Examples, Image


def _settings(base_url: str, key: str | None, timeout: float) -> dict[str, Any]:
    headers = {"User-Agent": "leo-client"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return {"base_url": base_url, "headers": headers, "timeout": timeout}


def _unreachable(base_url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"no answer from {base_url}: {error or type(error).__name__}")


class Client:
    """The service at `base_url`. Calls raise `ProblemError` with what it says, or `Unreachable`.

    What can be repeated without harm is, up to `retries` times, when the service is busy or away;
    creations carry an `Idempotency-Key`, so that a repeated one makes one task.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 60,
        retries: int = 4,
    ) -> None:
        self._http = httpx.Client(**_settings(base_url, key, timeout))
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def create(
        self,
        examples: Examples,
        *,
        name: str | None = None,
        ttl_seconds: int | None = None,
        model: str | None = None,
        keep_support: bool = True,
        idempotency_key: str | None = None,
    ) -> Task:
        """Make a classifier from images by label, or from pairs of label and image."""
        return self._do(calls.create(examples, name, ttl_seconds, model, keep_support, idempotency_key))

    def add_support(self, task_id: str, examples: Examples) -> Task:
        """Add examples of old classes or new ones; asked once only, as the same examples could be added twice."""
        return self._do(calls.add_support(task_id, examples))

    def update(self, task_id: str, **changes: Any) -> Task:
        """Change `name` or `ttl_seconds`, counted from now; None takes a name away, or lets it live for ever."""
        return self._do(calls.update(task_id, changes))

    def import_head(self, data: bytes, *, name: str | None = None, ttl_seconds: int | None = None) -> Task:
        """A new task from what `parameters` gave."""
        return self._do(calls.import_head(data, name, ttl_seconds))

    def predict(
        self, task_id: str, images: Sequence[Image], *, top_k: int | None = None, threshold: float | None = None
    ) -> list[Prediction]:
        """One answer an image, in their order."""
        return self._do(calls.predict(task_id, images, top_k, threshold))

    def get(self, task_id: str) -> Task:
        """Read a task."""
        return self._do(calls.get(task_id))

    def page(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        name: str | None = None,
        label: str | None = None,
        model: str | None = None,
    ) -> TaskPage:
        """Some tasks, newest first: whose name contains `name`, that have the class `label`, that are of `model`."""
        return self._do(calls.page(limit, cursor, {"name": name, "label": label, "model": model}))

    def tasks(self, *, name: str | None = None, label: str | None = None, model: str | None = None) -> Iterator[Task]:
        """All tasks that `page` would give, newest first."""
        cursor: str | None = None
        while True:
            page = self.page(limit=100, cursor=cursor, name=name, label=label, model=model)
            yield from page.tasks
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete(self, task_id: str) -> None:
        """Delete a task."""
        self._do(calls.delete(task_id))

    def parameters(self, task_id: str) -> bytes:
        """The head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N]."""
        return self._do(calls.parameters(task_id))

    def onnx(self, task_id: str) -> bytes:
        """The whole classifier as an ONNX graph."""
        return self._do(calls.onnx(task_id))

    def models(self) -> list[dict[str, Any]]:
        """The models loaded, their limits and cards."""
        return self._do(calls.models())

    def _do(self, call: Call[Answer]) -> Answer:
        for tried in range(self._retries + 1):
            response: httpx.Response | None = None
            try:
                response = self._http.request(**call.request)
            except httpx.TransportError as error:
                failure = _unreachable(self._http.base_url, error)
            wait = None if tried == self._retries else call.wait(tried, response)
            if wait is None:
                break
            time.sleep(wait)
        if response is None:
            raise failure
        return call.answer(response)


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 60,
        retries: int = 4,
    ) -> None:
        self._http = httpx.AsyncClient(**_settings(base_url, key, timeout))
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def create(
        self,
        examples: Examples,
        *,
        name: str | None = None,
        ttl_seconds: int | None = None,
        model: str | None = None,
        keep_support: bool = True,
        idempotency_key: str | None = None,
    ) -> Task:
        """Make a classifier from images by label, or from pairs of label and image."""
        return await self._do(calls.create(examples, name, ttl_seconds, model, keep_support, idempotency_key))

    async def add_support(self, task_id: str, examples: Examples) -> Task:
        """Add examples of old classes or new ones; asked once only, as the same examples could be added twice."""
        return await self._do(calls.add_support(task_id, examples))

    async def update(self, task_id: str, **changes: Any) -> Task:
        """Change `name` or `ttl_seconds`, counted from now; None takes a name away, or lets it live for ever."""
        return await self._do(calls.update(task_id, changes))

    async def import_head(self, data: bytes, *, name: str | None = None, ttl_seconds: int | None = None) -> Task:
        """A new task from what `parameters` gave."""
        return await self._do(calls.import_head(data, name, ttl_seconds))

    async def predict(
        self, task_id: str, images: Sequence[Image], *, top_k: int | None = None, threshold: float | None = None
    ) -> list[Prediction]:
        """One answer an image, in their order."""
        return await self._do(calls.predict(task_id, images, top_k, threshold))

    async def get(self, task_id: str) -> Task:
        """Read a task."""
        return await self._do(calls.get(task_id))

    async def page(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        name: str | None = None,
        label: str | None = None,
        model: str | None = None,
    ) -> TaskPage:
        """Some tasks, newest first: whose name contains `name`, that have the class `label`, that are of `model`."""
        return await self._do(calls.page(limit, cursor, {"name": name, "label": label, "model": model}))

    async def tasks(
        self, *, name: str | None = None, label: str | None = None, model: str | None = None
    ) -> AsyncIterator[Task]:
        """All tasks that `page` would give, newest first."""
        cursor: str | None = None
        while True:
            page = await self.page(limit=100, cursor=cursor, name=name, label=label, model=model)
            for task in page.tasks:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def delete(self, task_id: str) -> None:
        """Delete a task."""
        await self._do(calls.delete(task_id))

    async def parameters(self, task_id: str) -> bytes:
        """The head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N]."""
        return await self._do(calls.parameters(task_id))

    async def onnx(self, task_id: str) -> bytes:
        """The whole classifier as an ONNX graph."""
        return await self._do(calls.onnx(task_id))

    async def models(self) -> list[dict[str, Any]]:
        """The models loaded, their limits and cards."""
        return await self._do(calls.models())

    async def _do(self, call: Call[Answer]) -> Answer:
        for tried in range(self._retries + 1):
            response: httpx.Response | None = None
            try:
                response = await self._http.request(**call.request)
            except httpx.TransportError as error:
                failure = _unreachable(self._http.base_url, error)
            wait = None if tried == self._retries else call.wait(tried, response)
            if wait is None:
                break
            await asyncio.sleep(wait)
        if response is None:
            raise failure
        return call.answer(response)
