"""Admission of requests: what is counted, from when to when, and in whose share."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.http.keys import new_key
from app.http.middleware.admission import Admission, has_left, kind_of, owner_of
from app.http.middleware.body import Bodies
from app.http.turns import PERMITS, Share, Turns, slot_of
from app.shared_state import SharedState

ME = "127.0.0.1"
HEADERS = [(b"content-length", b"3")]


class Service:
    """The middleware around an app that answers when the test lets it."""

    def __init__(self, most: int = 100) -> None:
        self.shared_state = SharedState()
        self.may_answer, self.may_end = asyncio.Event(), asyncio.Event()
        self.bodies_seen: list[bytes] = []
        self.sent: list[Message] = []
        bodies, turns = Bodies(1000, 1000), Turns(most, 30.0, self.shared_state)
        self._admission = Admission(self._app, bodies, turns)

    async def _app(self, _: Scope, receive: Receive, send: Send) -> None:
        self.bodies_seen.append((await receive())["body"])
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.may_end.wait()
        await send({"type": "http.response.body"})

    async def ask(self, receive: Receive, path: str = "/tasks") -> "asyncio.Task[None]":
        async def send(message: Message) -> None:
            self.sent.append(message)

        path, _, query = path.partition("?")
        scope = {"type": "http", "method": "POST", "path": path, "headers": HEADERS, "client": (ME, 1)}
        scope["query_string"] = query.encode()
        task = asyncio.create_task(self._admission(scope, receive, send))
        for _ in range(5):
            await asyncio.sleep(0)
        return task

    @property
    def under_way(self) -> int:
        return self.shared_state.load.own(slot_of(Share(ME, "small")))

    @property
    def statuses(self) -> list[int]:
        return [message["status"] for message in self.sent if "status" in message]


async def whole() -> Message:
    return {"type": "http.request", "body": b"abc", "more_body": False}


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def unread() -> Message:
    raise AssertionError("the body was read")


def test_a_request_counts_from_its_body_to_its_answer() -> None:
    async def scenario() -> None:
        service = Service()
        slow = [await service.ask(never) for _ in range(50)]
        assert service.under_way == 0
        quick = await service.ask(whole)
        assert (service.under_way, service.bodies_seen) == (1, [b"abc"])
        service.may_answer.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (service.under_way, quick.done()) == (0, False)  # its client reads as slowly as it likes
        service.may_end.set()
        await quick
        assert service.statuses == [200]
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(scenario())


def test_requests_over_the_limit_are_refused_unread() -> None:
    async def scenario() -> None:
        service = Service(most=PERMITS["small"])
        admitted = [await service.ask(whole) for _ in range(PERMITS["small"])]
        await (await service.ask(unread))
        assert service.statuses == [503]
        assert (b"retry-after", b"1") in service.sent[0]["headers"]
        supervisors = [await service.ask(whole, path) for path in ("/healthz", "/readyz?verbose")]
        assert len(service.bodies_seen) == len(admitted) + len(supervisors)
        service.may_answer.set()
        service.may_end.set()
        await asyncio.gather(*admitted, *supervisors)
        assert service.under_way == 0

    asyncio.run(scenario())


def test_a_request_whose_client_left_while_it_waited_does_not_run() -> None:
    async def scenario() -> None:
        service = Service()
        admitted = [await service.ask(whole) for _ in range(PERMITS["small"])]
        messages: list[Any] = [{"type": "http.disconnect"}, await whole()]

        async def leaves() -> Message:
            return messages.pop()  # type: ignore[no-any-return]

        left = await service.ask(leaves)
        service.may_answer.set()
        service.may_end.set()
        await asyncio.gather(*admitted, left)
        assert len(service.bodies_seen) == len(admitted)
        assert service.statuses.count(499) == 1
        assert service.under_way == 0

    asyncio.run(scenario())


def test_whether_a_client_has_left_is_asked_without_waiting() -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    async def scenario() -> None:
        assert has_left(left)
        assert not has_left(never)
        assert not has_left(whole)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("somewhere", "somewhere"),
    ],
)
def test_without_keys_an_address_has_a_share(address: str, owner: str) -> None:
    assert owner_of({"client": (address, 1)}) == owner
    assert owner_of({"client": None}) == ""


def test_with_keys_an_owner_has_a_share_wherever_it_asks_from() -> None:
    for name in ("phone", "laptop"):
        key, _ = new_key(name, "ann", ["read"])
        assert owner_of({"state": {"key": key}, "client": (name, 1)}) == "key:ann"


def test_reads_and_large_bodies_are_kinds_of_their_own() -> None:
    kinds = [kind_of({"method": method}, size) for method in ("GET", "POST") for size in (0, 2**18 + 1)]
    assert kinds == ["read", "read", "small", "large"]
