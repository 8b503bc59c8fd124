"""Workers see at once what another of them did. Real forked processes."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from app.http.keys import KeyFile, Keys, new_key, write_keys
from app.process.workers import MOST_WORKERS, worker_count
from app.settings import Settings
from app.shared_state import SharedState
from model.devices import CORES

fork = multiprocessing.get_context("fork")


def elsewhere(shared_state: SharedState, act: Callable[[], object]) -> None:
    """Let the second worker do something, and wait for it."""

    def work() -> None:
        shared_state.join(1)
        act()

    process = fork.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_a_change_by_another_is_seen_and_no_other_task_is_suspected() -> None:
    shared_state = SharedState(2)
    one, other = shared_state.version("one"), shared_state.version("other")
    elsewhere(shared_state, lambda: shared_state.bump_version("one"))
    assert shared_state.version("one") != one
    assert shared_state.version("other") == other
    shared_state.bump_all_versions()
    assert shared_state.version("other") != other


def test_cores_are_free_unless_another_computes() -> None:
    shared_state = SharedState(2)
    heard, told = fork.Pipe(), fork.Pipe()

    def compute(_: object) -> None:
        heard[1].send("computing")
        told[0].recv()

    def work() -> None:
        shared_state.join(1)
        shared_state.while_computing(compute)([])

    assert shared_state.is_idle()
    seen: list[bool] = []
    shared_state.while_computing(lambda _: seen.append(shared_state.is_idle()))([])
    assert seen == [True]  # its own work is not another's
    process = fork.Process(target=work)
    process.start()
    heard[0].recv()
    assert not shared_state.is_idle()
    process.kill()
    process.join()
    assert not shared_state.is_idle()  # nobody could say that it ended,
    shared_state.join(1)  # until one takes its place
    shared_state.join(0)
    assert shared_state.is_idle()


def test_requests_are_counted_together() -> None:
    shared_state = SharedState(2)
    shared_state.own_requests += 3

    def ask() -> None:
        shared_state.own_requests += 2

    elsewhere(shared_state, ask)
    assert (shared_state.own_requests, shared_state.requests) == (3, 5)
    shared_state.join(1)  # in its place begins another, with nothing under way
    assert shared_state.requests == 3


def test_a_failure_ends_the_computing_too() -> None:
    shared_state = SharedState(2)

    def fail(_: object) -> None:
        raise RuntimeError("the device")

    with pytest.raises(RuntimeError):
        shared_state.while_computing(fail)([])
    shared_state.join(1)
    assert shared_state.is_idle()


def test_a_key_has_one_rate_with_all_workers(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    slow, _ = new_key("slow", "me", ["read"], per_second=2)
    slower, _ = new_key("slower", "me", ["read"], per_second=0.01)
    write_keys(path, KeyFile(keys=[slow, slower]))
    shared_state = SharedState(2)
    keys = Keys(path, shared_state.rate_states)
    assert keys.seconds_to_wait(slow) is None

    def ask() -> None:
        theirs = Keys(path, shared_state.rate_states)
        assert theirs.seconds_to_wait(slow) is None
        assert theirs.seconds_to_wait(slower) is None

    elsewhere(shared_state, ask)
    assert keys.seconds_to_wait(slow) == 1  # two were made in this second
    wait = keys.seconds_to_wait(slower)
    assert wait is not None
    assert 95 <= wait <= 100


def test_how_many_there_are(tmp_path: Path) -> None:
    def with_(**changes: object) -> int:
        return worker_count(Settings.model_validate({"device": "cpu", "data_dir": tmp_path} | changes))

    assert with_() == min(CORES, MOST_WORKERS)
    assert with_(workers=7) == 7
    assert with_(store_url="redis://127.0.0.1:1/0") == 1
