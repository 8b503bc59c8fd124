"""A watchdog gives up an event loop that hangs, and no other."""

import threading

import pytest

from app.inference import watchdog
from app.inference.watchdog import Watchdog


class RecordedWatchdog:
    """A watchdog that has started, and the reasons for which it gave up."""

    def __init__(self, deadline: float) -> None:
        self.reasons: list[str] = []
        self.gave_up = threading.Event()
        self.watchdog = Watchdog(deadline, self.give_up)
        self.watchdog.start()

    def give_up(self, reason: str) -> None:
        self.reasons.append(reason)
        self.gave_up.set()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.01)


def test_a_loop_that_stops_beating_is_given_up_once() -> None:
    recorded = RecordedWatchdog(0.1)
    recorded.watchdog.beat()
    assert recorded.gave_up.wait(10)
    recorded.watchdog.stop()
    assert recorded.reasons == ["the event loop has hung for over 0.1 s"]


def test_a_process_that_did_not_get_to_run_is_not_a_hung_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "ASLEEP", 0.0)  # every look finds that the process was stopped
    recorded = RecordedWatchdog(0.05)
    assert not recorded.gave_up.wait(0.5)
    recorded.watchdog.stop()
    assert recorded.reasons == []


def test_a_stopped_watchdog_gives_nothing_up() -> None:
    recorded = RecordedWatchdog(0.5)
    recorded.watchdog.stop()
    assert not recorded.gave_up.wait(0.8)
