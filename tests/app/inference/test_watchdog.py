"""Who sees that the event loop hangs."""

import threading

import pytest

from app.inference import watchdog
from app.inference.watchdog import Watchdog


class SupportFeatures:
    """A watchdog and what it said."""

    def __init__(self, deadline: float) -> None:
        self.said: list[str] = []
        self.barked = threading.Event()
        self.dog = Watchdog(deadline, self.bark)
        self.dog.start()

    def bark(self, reason: str) -> None:
        self.said.append(reason)
        self.barked.set()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.01)


def test_a_loop_that_stops_beating_is_given_up_once() -> None:
    kept = SupportFeatures(0.1)
    kept.dog.beat()
    assert kept.barked.wait(10)
    kept.dog.stop()
    assert kept.said == ["the event loop has hung for over 0.1 s"]


def test_a_process_that_did_not_run_is_no_hung_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "ASLEEP", 0.0)  # every look finds that it comes late
    kept = SupportFeatures(0.05)
    assert not kept.barked.wait(0.5)
    kept.dog.stop()
    assert kept.said == []


def test_a_stopped_one_says_nothing() -> None:
    kept = SupportFeatures(0.0)
    kept.dog.stop()
    said = len(kept.said)
    assert not threading.Event().wait(0.1)
    assert len(kept.said) == said <= 1
