"""The door: what it refuses, what it leaves to others to refuse, and what its refusals say."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.http.door import Door
from app.http.keys import KeyFile, Keys, new_key, write_keys
from app.http.middleware.admission import SMALL_BODY
from app.http.rates import Rates
from app.http.turns import CALM_SECONDS, PERMITS, Share, Turns

ME = Share("127.0.0.1", "small")
FORM = (b"content-length", b"3")


def scope_of(*headers: tuple[bytes, bytes], method: str = "POST", path: str = "/tasks/a/predict") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [*headers], "client": ("127.0.0.1", 1)}


class Overloaded:
    """A door behind which somebody has all the permits, and has asked for more."""

    def __init__(self, share: Share = ME, keys: Keys | None = None) -> None:
        self.now = 1000.0
        self.turns = Turns(PERMITS["small"], 30.0, clock=lambda: self.now)
        self.door, self._share = Door(self.turns, keys), share

    async def fill(self) -> None:
        for _ in range(PERMITS["small"]):
            await self.turns.take(self._share)
        assert not self.turns.admits(self._share)


def test_a_refusal_is_a_problem_that_says_when_to_come_back() -> None:
    async def scenario() -> None:
        overloaded = Overloaded()
        await overloaded.fill()
        refusal = overloaded.door.refusal(scope_of(FORM, (b"x-request-id", b"from-gateway"))) or b""
        head, _, body = refusal.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n"))
        assert headers[b"retry-after"] == b"1"
        assert headers[b"content-type"] == b"application/problem+json"
        assert headers[b"x-request-id"] == b"from-gateway"
        assert headers[b"cache-control"] == b"no-store"
        assert int(headers[b"content-length"]) == len(body)
        assert json.loads(body)["status"] == 503
        again = overloaded.door.refusal(scope_of(FORM, (b"x-request-id", b"a\tb"))) or b""
        assert len(again.split(b"\r\n")[0].partition(b": ")[2]) == 32  # an id of its own

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "scope",
    [
        scope_of(path="/healthz", method="GET"),
        scope_of(method="HEAD"),
        scope_of((b"content-length", b"%d" % (SMALL_BODY + 1))),
        scope_of((b"transfer-encoding", b"chunked")),
        scope_of(FORM, (b"expect", b"100-continue")),
        scope_of(FORM) | {"client": ("127.0.0.2", 1)},
    ],
)
def test_what_it_may_not_refuse_or_is_unsure_of_goes_in(scope: dict[str, Any]) -> None:
    async def scenario() -> None:
        overloaded = Overloaded()
        await overloaded.fill()
        assert overloaded.door.refusal(scope) is None
        assert overloaded.door.refusal(scope_of(FORM))

    asyncio.run(scenario())


def test_it_lets_no_more_in_during_a_turn_of_the_loop_than_may_work() -> None:
    async def scenario() -> None:
        overloaded = Overloaded()
        await overloaded.fill()
        for _ in range(2):
            overloaded.turns.give_back(ME)
        refused = [overloaded.door.refusal(scope_of(FORM)) is not None for _ in range(5)]
        assert refused == [False, False, True, True, True]
        await asyncio.sleep(0)  # their bodies did not come: others may have the permits
        assert overloaded.door.refusal(scope_of(FORM)) is None

    asyncio.run(scenario())


def test_it_is_open_once_nothing_has_been_refused_for_a_while() -> None:
    async def scenario() -> None:
        overloaded = Overloaded()
        await overloaded.fill()
        assert overloaded.door.refusal(scope_of(FORM))
        overloaded.now += CALM_SECONDS
        assert overloaded.door.refusal(scope_of(FORM)) is None  # left to `Admission`

    asyncio.run(scenario())


def test_with_keys_it_refuses_the_owner_who_asks_for_too_much_alone(tmp_path: Path) -> None:
    made = {
        "greedy": new_key("greedy", "ann", ["read"]),
        "polite": new_key("polite", "bob", ["read"]),
        "limited": new_key("limited", "ann", ["read"], per_second=5.0),
    }
    write_keys(tmp_path / "keys.json", KeyFile(keys=[stored for stored, _ in made.values()]))
    presented = {name: key.encode() for name, (_, key) in made.items()}

    async def scenario() -> None:
        overloaded = Overloaded(Share("key:ann", "small"), Keys(tmp_path / "keys.json", Rates([0] * 16, [0.0] * 16)))
        await overloaded.fill()
        for header in ((b"x-api-key", presented["greedy"]), (b"authorization", b"Bearer " + presented["greedy"])):
            assert overloaded.door.refusal(scope_of(FORM, header))
        for key in (presented["polite"], presented["limited"], b"unknown"):  # the last two are told something else
            assert overloaded.door.refusal(scope_of(FORM, (b"x-api-key", key))) is None
        assert overloaded.door.refusal(scope_of(FORM)) is None

    asyncio.run(scenario())
