"""Health of a real process whose device fails, that is paused, or that is told to stop."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.helpers.server import Server
from tests.helpers.waiting import wait_until


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Server]:
    """A server whose device fails as the file `fault` says."""
    server = Server(
        tmp_path / "data",
        module="tests.helpers.faulty",
        LEO_TEST_FAULT=str(tmp_path / "fault"),
        LEO_DEVICE_DEADLINE="2",
        LEO_DRAIN_SECONDS="1.5",
        LEO_WORKERS="1",
    )
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_a_service_with_a_hung_device_ends_and_a_new_one_serves(faulty: Server, tmp_path: Path) -> None:
    task_id = faulty.create_task()
    (tmp_path / "fault").write_text("hang")
    refused = faulty.predict_ring(task_id)
    assert refused.status_code == 503
    assert "hung for over 2 s" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    try:
        not_ready = httpx.get(f"{faulty.url}/readyz")
        assert not_ready.status_code == 503
        assert "hung" in not_ready.json()["detail"]
    except httpx.TransportError:  # the process has ended already
        pass
    assert faulty.wait_for_exit() == 1
    assert "giving up" in faulty.log.read_text()
    (tmp_path / "fault").unlink()
    faulty.start()
    answer = faulty.predict_ring(task_id)
    assert answer.json()["predictions"][0]["label"] == "ring"


def test_a_service_with_a_hung_event_loop_ends_and_a_new_one_serves(faulty: Server, tmp_path: Path) -> None:
    faulty.stop(signal.SIGTERM)
    faulty.settings["LEO_TEST_QUICK"] = "1"
    faulty.start()
    task_id = faulty.create_task()
    (tmp_path / "fault").write_text("hang")
    with pytest.raises(httpx.TransportError):  # nobody is left to answer
        faulty.predict_ring(task_id)
    assert faulty.wait_for_exit() == 1
    log = faulty.log.read_text()
    assert "the event loop has hung for over 2 s: giving up" in log
    assert "faulty.py" in log  # where it hung
    (tmp_path / "fault").unlink()
    faulty.start()
    assert faulty.predict_ring(task_id).json()["predictions"][0]["label"] == "ring"


@pytest.mark.parametrize("quick", [False, True])
def test_a_paused_process_goes_on_after_the_pause(faulty: Server, tmp_path: Path, quick: bool) -> None:
    if quick:
        faulty.stop(signal.SIGTERM)
        faulty.settings["LEO_TEST_QUICK"] = "1"
        faulty.start()
    task_id = faulty.create_task()
    (tmp_path / "fault").write_text("hold")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(faulty.predict_ring, task_id)
        wait_until((tmp_path / "held").exists)
        faulty.send(signal.SIGSTOP)
        time.sleep(3)  # longer than LEO_DEVICE_DEADLINE: the pause is what is tested
        (tmp_path / "fault").unlink()
        faulty.send(signal.SIGCONT)
        assert held.result().json()["predictions"][0]["label"] == "ring"
    faulty.wait_until_ready()
    assert "did not get to run" in faulty.log.read_text()
    assert "giving up" not in faulty.log.read_text()


def test_sigterm_turns_readiness_off_then_finishes_accepted_work_then_ends(faulty: Server, tmp_path: Path) -> None:
    task_id = faulty.create_task()
    (tmp_path / "fault").write_text("slow")
    with ThreadPoolExecutor(8) as pool:
        accepted = [pool.submit(faulty.predict_ring, task_id) for _ in range(8)]
        faulty.send(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{faulty.url}/readyz").status_code != 200)
        during = faulty.predict_ring(task_id)  # still served while balancers notice
        answers = [one.result() for one in accepted]
    assert {answer.status_code for answer in [*answers, during]} == {200}
    assert faulty.wait_for_exit() == 0
    assert "Traceback" not in faulty.log.read_text()
