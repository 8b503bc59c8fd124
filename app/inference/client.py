"""Whether the client that a request's work is for still waits for it.

Only waits are watched: for a thread that decodes, and for the device's thread. Work that starts at once has nothing to
leave, and a change that is being stored is finished.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect

Result = TypeVar("Result")

#: How the present request's server says that its client has left: ASGI's `receive`, once the body has been read.
receive: ContextVar[Callable[[], Awaitable[Any]] | None] = ContextVar("receive", default=None)


async def unless_client_leaves(work: Awaitable[Result]) -> Result:
    """Wait for work, and cancel it if the present request's client disconnects meanwhile.

    Raises `ClientDisconnect`, and whatever the work raises. Work of no request, as the readiness test, is just awaited.
    """
    events, task = receive.get(), asyncio.current_task()
    if events is None or task is None:
        return await work
    watch = asyncio.create_task(_cancel_on_disconnect(events, task))
    try:
        return await work
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled() and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()


async def _cancel_on_disconnect(events: Callable[[], Awaitable[Any]], task: "asyncio.Task[Any]") -> None:
    message = await events()
    if message["type"] == "http.disconnect":
        task.cancel()
