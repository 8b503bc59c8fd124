"""Requests that come at once begin in several turns of the event loop, and addresses in rotation."""

import asyncio
import time
from collections import Counter
from typing import Any

from starlette.types import Receive, Scope, Send

from app.http.middleware.pacing import MOST_WAITING, TURN, Pacing

MILLISECONDS = 2  # of the event loop that each request takes, without a pause


class Flooded:
    """Requests by address; counts the turns of the loop, and in which of them each began."""

    def __init__(self) -> None:
        self.turn, self.began = 0, dict[str, list[int]]()

    async def app(self, scope: Scope, _: Receive, __: Send) -> None:
        self.began.setdefault(scope["client"][0], []).append(self.turn)
        until = time.perf_counter() + MILLISECONDS / 1000
        while time.perf_counter() < until:
            pass

    async def run(self, *requests: tuple[str, str]) -> None:
        pacing = Pacing(self.app)
        asked = [asyncio.create_task(self._ask(pacing, *each)) for each in requests]
        while not all(each.done() for each in asked):
            self.turn += 1
            await asyncio.sleep(0)

    async def _ask(self, pacing: Pacing, address: str, path: str) -> None:
        nothing: Any = None
        await pacing({"type": "http", "path": path, "client": (address, 1)}, nothing, nothing)


def test_a_flood_begins_in_many_turns() -> None:
    flooded = Flooded()
    asyncio.run(flooded.run(*[("10.0.0.1", "/nothing")] * 200))
    in_a_turn = Counter(flooded.began["10.0.0.1"])
    assert in_a_turn.total() == 200
    assert max(in_a_turn.values()) <= MOST_WAITING + 1000 * TURN / MILLISECONDS + 1


def test_another_address_does_not_wait_for_the_flood() -> None:
    flooded = Flooded()
    asyncio.run(flooded.run(*[("10.0.0.1", "/nothing")] * 200, ("10.0.0.2", "/tasks/a/predict")))
    assert flooded.began["10.0.0.2"][0] <= 4
    assert flooded.began["10.0.0.1"][-1] > 10


def test_probes_never_wait() -> None:
    flooded = Flooded()
    asyncio.run(flooded.run(*[("10.0.0.1", "/nothing")] * 200, ("10.0.0.2", "/healthz"), ("10.0.0.3", "/readyz")))
    assert flooded.began["10.0.0.2"] == flooded.began["10.0.0.3"] == [flooded.began["10.0.0.1"][0]]


def test_a_request_that_is_cancelled_while_it_waits_holds_up_no_other() -> None:
    flooded = Flooded()

    async def scenario() -> None:
        pacing = Pacing(flooded.app)
        asked = [asyncio.create_task(flooded._ask(pacing, "10.0.0.1", "/")) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for each in asked[-50:]:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(scenario())
    assert len(flooded.began["10.0.0.1"]) == 50
