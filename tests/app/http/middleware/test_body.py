"""Receiving bodies: limits of size, time and memory."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from app.http.middleware import body as body_module
from app.http.middleware.body import Bodies, has_body, replay
from app.problems import Problem


class Client:
    """Sends a body part by part, as the test says."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, part: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_body_is_held_until_it_is_released() -> None:
    async def scenario() -> None:
        bodies, client = Bodies(100, 1000), Client()
        client.send(b"abc")
        client.send(b"")
        client.send(b"def", more=False)
        body = await bodies.receive(client.receive)
        assert (body, bodies.held_bytes) == (b"abcdef", 6)
        bodies.release(body)
        assert bodies.held_bytes == 0

    asyncio.run(scenario())


def test_a_body_that_turns_out_too_large_is_refused_at_once() -> None:
    async def scenario() -> None:
        bodies, client = Bodies(100, 1000), Client()
        client.send(b"a" * 101)
        with pytest.raises(Problem, match="over the limit of 100 bytes") as refused:
            await bodies.receive(client.receive)
        assert (refused.value.status, bodies.held_bytes) == (413, 0)

    asyncio.run(scenario())


def test_a_client_that_leaves_half_way_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        bodies, client = Bodies(100, 1000), Client()
        client.send(b"abc")
        client.leave()
        with pytest.raises(ClientDisconnect):
            await bodies.receive(client.receive)
        assert bodies.held_bytes == 0

    asyncio.run(scenario())


def test_a_body_has_longer_the_more_of_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(body_module, "BYTES_A_SECOND", 10)

    async def scenario() -> None:
        bodies, slow, steady = Bodies(1000, 1000), Client(), Client()
        receiving = asyncio.create_task(bodies.receive(steady.receive))
        steady.send(b"a" * 600)  # may take a minute now
        slow.send(b"")
        with pytest.raises(Problem, match="came too slowly") as refused:
            await bodies.receive(slow.receive)
        assert refused.value.status == 408
        assert not receiving.done()
        steady.send(b"", more=False)
        assert await receiving == b"a" * 600

    asyncio.run(scenario())


def test_where_bodies_are_too_many_bytes_the_one_that_began_first_is_dropped() -> None:
    async def scenario() -> None:
        bodies = Bodies(100, 250)
        slow, *others = (Client() for _ in range(4))
        first = asyncio.create_task(bodies.receive(slow.receive))
        slow.send(b"a" * 90)
        await turns_of_the_loop()
        for client in others:
            client.send(b"b" * 50)
            client.send(b"b" * 20, more=False)
            assert await bodies.receive(client.receive) == b"b" * 70
            slow.send(b"a")  # still sends
        with pytest.raises(Problem, match="as many bytes of requests as it may") as refused:
            await first
        assert (refused.value.status, bodies.held_bytes) == (503, 210)
        late = Client()
        late.send(b"c" * 60)  # all others are whole: there is no other to drop
        with pytest.raises(Problem, match="as many bytes of requests as it may"):
            await bodies.receive(late.receive)
        assert bodies.held_bytes == 210

    asyncio.run(scenario())


def test_the_only_body_may_be_larger_than_all_together() -> None:
    async def scenario() -> None:
        bodies, client = Bodies(100, 50), Client()
        client.send(b"a" * 100, more=False)
        assert len(await bodies.receive(client.receive)) == 100

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"1")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
)
def test_headers_tell_whether_there_is_a_body(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    assert has_body({"headers": headers}) is expected


def test_what_was_received_is_given_once() -> None:
    async def scenario() -> None:
        client = Client()
        receive = replay(b"abc", client.receive)
        assert await receive() == {"type": "http.request", "body": b"abc", "more_body": False}
        client.leave()
        assert (await receive())["type"] == "http.disconnect"

    asyncio.run(scenario())
