"""A rate limit is its key's own, wherever it stands in memory."""

from types import SimpleNamespace

import pytest

from app.http.rates import PROBED, Rates

SLOTS = 64


class Clock:
    """The monotonic clock, which goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.http.rates.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def rates() -> Rates:
    return Rates([0] * SLOTS, [0.0] * SLOTS)


def test_a_bucket_holds_one_second_of_requests_and_fills_again(clock: Clock) -> None:
    counted = rates()
    assert [counted.seconds_to_wait(7, 3) for _ in range(4)] == [None, None, None, 1]
    clock.now += 0.34
    assert [counted.seconds_to_wait(7, 3) for _ in range(2)] == [None, 1]
    clock.now += 1000
    assert [counted.seconds_to_wait(7, 3) for _ in range(4)] == [None, None, None, 1]


def test_a_raised_rate_forgives_the_debt_of_the_former_one(clock: Clock) -> None:
    counted = rates()
    assert [counted.seconds_to_wait(7, 1e-5) for _ in range(2)] == [None, 100_000]
    assert counted.left(7, 10.0) == (0, 1)
    clock.now += 0.5
    assert [counted.seconds_to_wait(7, 10.0) for _ in range(6)] == [*[None] * 5, 1]


def test_keys_whose_numbers_meet_are_counted_apart(clock: Clock) -> None:
    counted = rates()
    meeting = [5 + SLOTS * n for n in range(PROBED)]  # all begin to look at the same slot
    assert [counted.seconds_to_wait(key, 0.01) for key in meeting] == [None] * PROBED
    assert [counted.seconds_to_wait(key, 0.01) for key in meeting] == [100] * PROBED


def test_slots_of_keys_that_no_longer_come_are_used_again(clock: Clock) -> None:
    """Keys come and go by the thousand; none begins with the debt of one before it."""
    counted = rates()
    for key in range(100, 5000):
        assert [counted.seconds_to_wait(key, 0.5), counted.seconds_to_wait(key, 0.5)] == [None, 2]
        clock.now += 0.5
    for key in range(10_000, 10_000 + 4 * SLOTS):  # more at once than there are slots
        assert counted.seconds_to_wait(key, 0.001) is None
