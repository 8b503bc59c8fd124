"""Workers before a device process, as on a GPU, with the CPU as its device. Real servers, real kills."""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create
from tests.helpers.waiting import wait_until

WORKERS = 2
KILLS = 5


def device_ids(server: Server) -> list[int]:
    """Process ids of all device processes that have ever computed, the latest last."""
    return [int(pid) for pid in re.findall(r"device process \d+, pid (\d+), computes on", server.log.read_text())]


def status_of_readiness(server: Server) -> int:
    try:
        return httpx.get(f"{server.url}/readyz", timeout=5).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "data", LEO_DEVICE="process:cpu", LEO_WORKERS=str(WORKERS), LEO_DEVICE_DEADLINE="3")
    try:
        served.start()
        yield served
    finally:
        served.close()


def predict(client: httpx.Client, task_id: str, name: str, images: int = 1) -> httpx.Response:
    files = [("images", (name, png(name, 70 + n), "image/png")) for n in range(images)]
    return client.post(f"/tasks/{task_id}/predict", files=files)


def test_everything_that_tasks_can_do_works_with_the_device_elsewhere(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        task_id = create(client, FIVE[:4]).json()["task_id"]
        more = [("images", (FIVE[4], png(FIVE[4], seed), "image/png")) for seed in (1, 2)]
        added = client.post(f"/tasks/{task_id}/support", data={"labels": [FIVE[4]] * 2}, files=more)
        assert added.status_code == 200, added.text
        for name in FIVE:
            answer = predict(client, task_id, name, images=3).json()["predictions"]
            assert [one["label"] for one in answer] == [name] * 3
        for exported in ("parameters", "export.onnx"):
            assert client.get(f"/tasks/{task_id}/{exported}").status_code == 200
        assert client.get("/models").json()["models"][0]["phi_precision"] == "float32"
        many = predict(client, task_id, "ring", images=300)
        assert {one["label"] for one in many.json()["predictions"]} == {"ring"}
        assert "leo_batch_requests_count" in client.get("/metrics").text


def test_killed_under_load_it_gives_no_wrong_answer_and_loses_no_task(server: Server) -> None:
    expected: dict[str, np.ndarray] = {}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for _ in range(4):
            task_id = create(client, FIVE).json()["task_id"]
            expected[task_id] = probabilities(predict(client, task_id, "ring"))
    stop, made = threading.Event(), list[str]()
    seen: list[int] = []

    def load(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                for task_id, right in expected.items():
                    answer = predict(client, task_id, "ring")
                    seen.append(answer.status_code)
                    if answer.status_code == 200:
                        np.testing.assert_allclose(probabilities(answer), right, atol=1e-4)
                    else:
                        assert answer.status_code == 503, answer.text
                        assert "Retry-After" in answer.headers
                created = create(client, FIVE)
                assert created.status_code in (201, 503), created.text
                if created.status_code == 201:
                    made.append(created.json()["task_id"])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, number) for number in range(4)]
        try:
            for _ in range(KILLS):
                killed = device_ids(server)
                answered = len(seen)
                os.kill(killed[-1], signal.SIGKILL)
                wait_until(lambda killed=killed: len(device_ids(server)) > len(killed), 60)
                wait_until(lambda: status_of_readiness(server) == 200, 60)
                wait_until(lambda answered=answered: len(seen) > answered + 8, 60)
        finally:
            stop.set()
        for each in loads:
            each.result()
    assert len(device_ids(server)) == KILLS + 1
    assert seen.count(200) > KILLS
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for task_id in [*expected, *made]:
            assert predict(client, task_id, "ring").json()["predictions"][0]["label"] == "ring"


def probabilities(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    scores = {one["label"]: one["confidence"] for one in answer.json()["predictions"][0]["top_k"]}
    return np.array([scores[label] for label in sorted(scores)])


def test_while_a_device_process_is_away_the_service_says_that_it_is_not_ready(server: Server) -> None:
    (first,) = device_ids(server)
    os.kill(first, signal.SIGSTOP)  # it hangs
    wait_until(lambda: status_of_readiness(server) == 503, 60)
    wait_until(lambda: len(device_ids(server)) == 2, 60)
    wait_until(lambda: status_of_readiness(server) == 200, 60)
    assert "has hung for over 3 s" in server.log.read_text()
    task = server.create_task()
    assert server.predict_ring(task).json()["predictions"][0]["label"] == "ring"


def test_nothing_of_it_is_left_when_the_service_stops(server: Server) -> None:
    (device,) = device_ids(server)
    task = server.create_task()
    assert server.predict_ring(task).status_code == 200
    assert server.stop(signal.SIGTERM) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(device, 0)


def test_if_the_parent_is_killed_the_device_process_ends_with_it(server: Server) -> None:
    (device,) = device_ids(server)
    server.stop(signal.SIGKILL)

    def has_ended() -> bool:
        try:
            os.kill(device, 0)
        except ProcessLookupError:
            return True
        return "zombie" in Path(f"/proc/{device}/status").read_text()

    wait_until(has_ended)


@pytest.mark.parametrize("device", ["process:cpu", "auto"])
def test_the_parent_that_forks_never_touches_cuda(tmp_path: Path, device: str) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    server = Server(
        tmp_path / "data",
        module="tests.helpers.cuda_watch",
        LEO_DEVICE=device,
        LEO_WORKERS="2",
        CUDA_WATCH=str(notes),
    )
    try:
        server.start()
        parent = server.process_id
        task = server.create_task()
        assert server.predict_ring(task).status_code == 200
    finally:
        server.close()
    asked = [line.split() for line in notes.read_text().splitlines()]
    if device == "auto":
        assert asked  # the watch works: others may, and have to
    assert not [name for pid, name in asked if int(pid) == parent]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "choose auto, cpu, cuda, cuda:1"),
        ("cuda:0,cpu", "choose auto, cpu, cuda, cuda:1"),
        ("cuda:1,cuda:1", "named twice"),
        ("cuda:99", "there is no GPU cuda:99 here"),
    ],
)
def test_a_device_that_is_not_there_is_told_in_one_line(tmp_path: Path, device: str, message: str) -> None:
    done = refused(tmp_path, LEO_DEVICE=device, LEO_WORKERS="2")
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def refused(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Try to serve with settings that cannot be served with."""
    environment = os.environ | {"LEO_DATA_DIR": str(folder), "LEO_PORT": "0", **settings}
    command = [sys.executable, "-m", "app.cli", "serve"]
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120)


def test_a_model_that_cannot_run_there_is_told(tmp_path: Path) -> None:
    done = refused(tmp_path, LEO_DEVICE="process:cpu", LEO_PHI_PRECISION="int8")
    assert done.returncode == 1
    assert "cannot run quantised" in done.stderr + done.stdout
