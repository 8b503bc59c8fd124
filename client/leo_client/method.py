"""Turns a function that describes a call into a method that sends it, for the sync and for the async client."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, cast, overload

from leo_client.call import Answer, Call

Parameters = ParamSpec("Parameters")


class Sync(Protocol):
    """A client that sends a call and waits for the answer."""

    def _send(self, call: Call[Answer]) -> Answer: ...


class Async(Protocol):
    """A client whose answers are awaited."""

    async def _send(self, call: Call[Answer]) -> Answer: ...


class Method(Protocol[Parameters, Answer]):
    """The type of a method that returns an answer on a sync client, and a coroutine of it on an async one."""

    @overload
    def __get__(self, client: Sync, owner: type) -> Callable[Parameters, Answer]: ...
    @overload
    def __get__(self, client: Async, owner: type) -> Callable[Parameters, Coroutine[Any, Any, Answer]]: ...


def method(describe: Callable[Concatenate[Any, Parameters], Call[Answer]]) -> Method[Parameters, Answer]:
    """Turn a function that describes a call into a method that sends it, as its client does."""

    @functools.wraps(describe)
    def send(client: Any, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        return client._send(describe(client, *args, **kwargs))

    return cast(Method[Parameters, Answer], send)
