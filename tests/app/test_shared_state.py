"""Workers see at once what another of them did. Real forked processes."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from app.http.keys import KeyFile, Keys, new_key, write_keys
from app.settings import Settings
from app.shared_state import MOST, Company, how_many
from model.devices import CORES

fork = multiprocessing.get_context("fork")


def elsewhere(company: Company, act: Callable[[], object]) -> None:
    """Let the second worker do something, and wait for it."""

    def work() -> None:
        company.join(1)
        act()

    process = fork.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_a_change_by_another_is_seen_and_no_other_task_is_suspected() -> None:
    company = Company(2)
    one, other = company.mark("one"), company.mark("other")
    elsewhere(company, lambda: company.changed("one"))
    assert company.mark("one") != one
    assert company.mark("other") == other
    company.changed_all()
    assert company.mark("other") != other


def test_cores_are_free_unless_another_computes() -> None:
    company = Company(2)
    heard, told = fork.Pipe(), fork.Pipe()

    def compute(_: object) -> None:
        heard[1].send("computing")
        told[0].recv()

    def work() -> None:
        company.join(1)
        company.computing(compute)([])

    assert company.is_idle()
    seen: list[bool] = []
    company.computing(lambda _: seen.append(company.is_idle()))([])
    assert seen == [True]  # its own work is not another's
    process = fork.Process(target=work)
    process.start()
    heard[0].recv()
    assert not company.is_idle()
    process.kill()
    process.join()
    assert not company.is_idle()  # nobody could say that it ended,
    company.join(1)  # until one takes its place
    company.join(0)
    assert company.is_idle()


def test_requests_are_counted_together() -> None:
    company = Company(2)
    company.own_requests += 3

    def ask() -> None:
        company.own_requests += 2

    elsewhere(company, ask)
    assert (company.own_requests, company.requests) == (3, 5)
    company.join(1)  # in its place begins another, with nothing under way
    assert company.requests == 3


def test_a_failure_ends_the_computing_too() -> None:
    company = Company(2)

    def fail(_: object) -> None:
        raise RuntimeError("the device")

    with pytest.raises(RuntimeError):
        company.computing(fail)([])
    company.join(1)
    assert company.is_idle()


def test_a_key_has_one_rate_with_all_workers(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    slow, _ = new_key("slow", "me", ["read"], per_second=2)
    slower, _ = new_key("slower", "me", ["read"], per_second=0.01)
    write_keys(path, KeyFile(keys=[slow, slower]))
    company = Company(2)
    keys = Keys(path, company.turns)
    assert keys.take_turn(slow) is None

    def ask() -> None:
        theirs = Keys(path, company.turns)
        assert theirs.take_turn(slow) is None
        assert theirs.take_turn(slower) is None

    elsewhere(company, ask)
    assert keys.take_turn(slow) == 1  # two were made in this second
    wait = keys.take_turn(slower)
    assert wait is not None
    assert 95 <= wait <= 100


def test_how_many_there_are(tmp_path: Path) -> None:
    def with_(**changes: object) -> int:
        return how_many(Settings.model_validate({"device": "cpu", "data_dir": tmp_path} | changes))

    assert with_() == min(CORES, MOST)
    assert with_(workers=7) == 7
    assert with_(store_url="redis://127.0.0.1:1/0") == 1
