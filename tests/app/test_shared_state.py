"""Workers, which are forked processes, see at once what another of them did."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.http.keys import KeyFile, Keys, new_key, write_keys
from app.http.rates import Rates
from app.process.memory import workers_that_fit
from app.process.workers import worker_count
from app.settings import Settings
from app.shared_state import SharedState
from model.devices import CORES

fork = multiprocessing.get_context("fork")


def in_another_worker(shared_state: SharedState, act: Callable[[], object]) -> None:
    """Call a function in the second worker, and wait for it."""

    def work() -> None:
        shared_state.join(1)
        act()

    process = fork.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_another_workers_change_gives_its_task_a_new_version_and_no_other() -> None:
    shared_state = SharedState(2)
    one, other = shared_state.version("one"), shared_state.version("other")
    in_another_worker(shared_state, lambda: shared_state.bump_version("one"))
    assert shared_state.version("one") != one
    assert shared_state.version("other") == other
    shared_state.bump_all_versions()
    assert shared_state.version("other") != other


def test_the_machine_is_idle_unless_another_worker_computes() -> None:
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


def test_requests_of_all_workers_are_counted_together() -> None:
    shared_state = SharedState(2)
    load = shared_state.load
    load.count(5, 3)

    def ask() -> None:
        load.count(5, 2)
        load.count(6, 1)

    in_another_worker(shared_state, ask)
    assert (load.own(5), load.all(5), load.own(6), load.all(6)) == (3, 5, 0, 1)
    shared_state.join(1)  # in its place begins another, with nothing under way
    assert (load.all(5), load.all(6)) == (3, 0)


def test_computing_ends_with_a_failure_too() -> None:
    shared_state = SharedState(2)

    def fail(_: object) -> None:
        raise RuntimeError("the device")

    with pytest.raises(RuntimeError):
        shared_state.while_computing(fail)([])
    shared_state.join(1)
    assert shared_state.is_idle()


def test_a_key_has_one_rate_over_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.rates.time", SimpleNamespace(monotonic=lambda: 1000.0))  # all at the same moment
    path = tmp_path / "keys.json"
    slow, _ = new_key("slow", "me", ["read"], per_second=2)
    slower, _ = new_key("slower", "me", ["read"], per_second=0.01)
    write_keys(path, KeyFile(keys=[slow, slower]))
    shared_state = SharedState(2)
    rates = Rates(shared_state.rate_owners, shared_state.rate_states)
    keys = Keys(path, rates)
    assert keys.seconds_to_wait(slow) is None

    def ask() -> None:
        theirs = Keys(path, rates)
        assert theirs.seconds_to_wait(slow) is None
        assert theirs.seconds_to_wait(slower) is None

    in_another_worker(shared_state, ask)
    assert keys.seconds_to_wait(slow) == 1  # two were made in this second
    assert keys.seconds_to_wait(slower) == 100


def test_the_number_of_workers_follows_cores_and_settings(tmp_path: Path) -> None:
    def with_(**changes: object) -> int:
        return worker_count(Settings.model_validate({"device": "cpu", "data_dir": tmp_path} | changes))

    assert with_() == min(CORES, workers_that_fit(Settings()))
    assert with_(workers=7) == 7
    assert with_(store_url="redis://127.0.0.1:1/0") == 1
