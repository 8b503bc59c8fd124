"""Work for a client that leaves is given up: it leaves the queue before it runs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

Result = TypeVar("Result")


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work of a request whose body has been read, and cancel it if the client disconnects meanwhile.

    Raises `ClientDisconnect`, and whatever the work raises.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    watch = asyncio.create_task(_wait_for_disconnect(request, task))
    try:
        return await work
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled() and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()


async def _wait_for_disconnect(request: Request, task: "asyncio.Task[Any]") -> None:
    message = await request.receive()
    if message["type"] == "http.disconnect":
        task.cancel()
