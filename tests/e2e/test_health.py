"""Health tells the truth: a real process whose device fails, and one that is told to stop."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Server
from tests.helpers.drawn import CHARACTERS, png

FIVE = list(CHARACTERS)[:5]
QUERY = [("images", ("q", png("ring", 70), "image/png"))]


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Server]:
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


def create(server: Server) -> str:
    images = [("images", (name, png(name), "image/png")) for name in FIVE]
    return str(httpx.post(f"{server.url}/tasks", data={"labels": FIVE}, files=images, timeout=30).json()["task_id"])


def predict(server: Server, task_id: str) -> httpx.Response:
    return httpx.post(f"{server.url}/tasks/{task_id}/predict", files=QUERY, timeout=30)


def test_a_hung_device_ends_the_process_and_a_new_one_serves(faulty: Server, tmp_path: Path) -> None:
    task_id = create(faulty)
    (tmp_path / "fault").write_text("hang")
    refused = predict(faulty, task_id)
    assert refused.status_code == 503
    assert "hung for over 2 s" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    try:
        not_ready = httpx.get(f"{faulty.url}/readyz")
        assert not_ready.status_code == 503
        assert "hung" in not_ready.json()["detail"]
    except httpx.TransportError:  # it was faster to end than this test to ask
        pass
    assert faulty.ended() == 1
    assert "giving up" in faulty.log.read_text()
    (tmp_path / "fault").unlink()
    faulty.start()
    answer = predict(faulty, task_id)
    assert answer.json()["predictions"][0]["label"] == "ring"


def test_a_hung_event_loop_ends_the_process_and_a_new_one_serves(faulty: Server, tmp_path: Path) -> None:
    faulty.stop(signal.SIGTERM)
    faulty.settings["LEO_TEST_QUICK"] = "1"
    faulty.start()
    task_id = create(faulty)
    (tmp_path / "fault").write_text("hang")
    with pytest.raises(httpx.TransportError):  # nobody is left to say more
        predict(faulty, task_id)
    assert faulty.ended() == 1
    log = faulty.log.read_text()
    assert "the event loop has hung for over 2 s: giving up" in log
    assert "faulty.py" in log  # where it hung
    (tmp_path / "fault").unlink()
    faulty.start()
    assert predict(faulty, task_id).json()["predictions"][0]["label"] == "ring"


@pytest.mark.parametrize("quick", [False, True])
def test_a_paused_process_has_not_hung(faulty: Server, tmp_path: Path, quick: bool) -> None:
    if quick:
        faulty.stop(signal.SIGTERM)
        faulty.settings["LEO_TEST_QUICK"] = "1"
        faulty.start()
    task_id = create(faulty)
    (tmp_path / "fault").write_text("hold")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(predict, faulty, task_id)
        began = time.monotonic()
        while not (tmp_path / "held").exists():
            assert time.monotonic() - began < 30
        faulty.send(signal.SIGSTOP)
        threading.Event().wait(3)  # over LEO_DEVICE_DEADLINE: the pause is what is tested
        (tmp_path / "fault").unlink()
        faulty.send(signal.SIGCONT)
        assert held.result().json()["predictions"][0]["label"] == "ring"
    faulty.wait()
    assert "did not get to run" in faulty.log.read_text()
    assert "giving up" not in faulty.log.read_text()


def test_sigterm_readiness_off_first_then_accepted_work_finished_then_gone(faulty: Server, tmp_path: Path) -> None:
    task_id = create(faulty)
    (tmp_path / "fault").write_text("slow")
    with ThreadPoolExecutor(8) as pool:
        accepted = [pool.submit(predict, faulty, task_id) for _ in range(8)]
        faulty.send(signal.SIGTERM)
        began = time.monotonic()
        while httpx.get(f"{faulty.url}/readyz").status_code == 200:
            assert time.monotonic() - began < 30
        during = predict(faulty, task_id)  # still served while balancers notice
        answers = [one.result() for one in accepted]
    assert {answer.status_code for answer in [*answers, during]} == {200}
    assert faulty.ended() == 0
    assert "Traceback" not in faulty.log.read_text()
