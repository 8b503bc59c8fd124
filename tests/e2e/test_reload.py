"""SIGHUP loads new weights while the service runs, and no task is lost."""

import re
import shutil
import signal
from pathlib import Path

import httpx
import pytest
import torch

from app.settings import PROJECT
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until


def write_other_weights(folder: Path) -> None:
    """Replace a model by one that differs a little, as if it had been trained further."""
    leo = LatentEmbeddingOptimization.from_pretrained(folder)
    with torch.no_grad():
        leo.alpha.mul_(1.01)
    save_model(leo, folder, "omniglot", {})


def version(server: Server) -> str:
    return str(httpx.get(f"{server.url}/models").json()["models"][0]["version"])


def reload(server: Server, outcome: str) -> None:
    """Send the signal, and wait until the log tells this outcome of it."""
    already = server.log.read_text().count(outcome)
    server.send(signal.SIGHUP)
    wait_until(lambda: server.log.read_text().count(outcome) > already, seconds=60)


@pytest.mark.parametrize("device", ["cpu", "process:cpu"])
def test_new_weights_serve_new_tasks_and_the_old_ones_their_own(tmp_path: Path, device: str) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(PROJECT / "weights" / "omniglot", weights)
    # One worker: where several load the weights, each says so, and at a time of its own.
    server = Server(tmp_path / "data", LEO_WEIGHTS=str(weights), LEO_DEVICE=device, LEO_WORKERS="1")
    try:
        server.start()
        old, first = server.create_task(), version(server)

        (weights / "model.safetensors").write_bytes(b"half a file")
        (weights / "config.json").write_text((weights / "config.json").read_text().replace(first, "another"))
        reload(server, "the models stay as they are")
        assert version(server) == first

        shutil.copytree(PROJECT / "weights" / "omniglot", weights, dirs_exist_ok=True)
        write_other_weights(weights)
        reload(server, "reloaded: omniglot")
        second = version(server)
        assert second != first
        new = server.create_task()
        for task_id, of_version in ((old, first), (new, second)):
            answer = server.predict_ring(task_id).json()
            assert answer["predictions"][0]["label"] == "ring"
            assert answer["model_version"] == of_version
        more = [("images", ("zed", png("vee", 1), "image/png"))]
        grown = httpx.post(f"{server.url}/tasks/{old}/support", data={"labels": ["vee"]}, files=more).json()
        assert (grown["model_version"], grown["labels"]) == (first, [*FIVE, "vee"])
        assert f'leo_model_info{{model="omniglot",version="{second}"}} 1.0' in httpx.get(f"{server.url}/metrics").text

        write_other_weights(weights)  # a second time: the first version is not held any longer
        reload(server, "reloaded: omniglot")
        refused = server.predict_ring(old)
        assert refused.status_code == 409
        assert first in refused.json()["detail"]
        assert server.predict_ring(new).json()["model_version"] == second
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        reload(server, "no model has changed")
    finally:
        server.close()


def batches(server: Server) -> int:
    """How many batches the device has computed."""
    counted = re.findall(r"^leo_batch_requests_count\S* (\d+)", httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
    return sum(map(int, counted))


@pytest.mark.parametrize("device", ["cpu", "process:cpu"])
def test_an_idle_service_stays_ready_after_a_reload_to_another_resolution(tmp_path: Path, device: str) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(PROJECT / "weights" / "omniglot", weights)
    # One worker: where several load the weights, each says so, and at a time of its own.
    server = Server(tmp_path / "data", LEO_WEIGHTS=str(weights), LEO_DEVICE=device, LEO_WORKERS="1")
    try:
        server.start()
        shutil.rmtree(weights)
        shutil.copytree(PROJECT / "weights" / "omniglot-105", weights)
        config = weights / "config.json"
        config.write_text(config.read_text().replace('"name": "omniglot-105"', '"name": "omniglot"'))
        reload(server, "reloaded: omniglot")
        before = batches(server)
        # Nobody asks anything but the readiness test, which has a task adapted and then predict.
        wait_until(lambda: batches(server) >= before + 4 or "readiness test failed" in server.log.read_text())
        assert "readiness test failed" not in server.log.read_text()
        assert httpx.get(f"{server.url}/readyz").status_code == 200
    finally:
        server.close()
