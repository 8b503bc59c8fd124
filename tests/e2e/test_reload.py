"""New weights while the service runs: SIGHUP, and nobody's task is lost."""

import shutil
import signal
import threading
from pathlib import Path

import httpx
import torch

from app.settings import PROJECT
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from tests.e2e.conftest import Server
from tests.e2e.test_health import FIVE, create, predict
from tests.helpers.drawn import png


def other_weights(folder: Path) -> None:
    """The same model, trained a little further as it were."""
    leo = LatentEmbeddingOptimization.from_pretrained(folder)
    with torch.no_grad():
        leo.alpha.mul_(1.01)
    save_model(leo, folder, "omniglot", {})


def version(server: Server) -> str:
    return str(httpx.get(f"{server.url}/models").json()["models"][0]["version"])


def reloaded(server: Server, said: str) -> None:
    """Send the signal and wait until the log says what came of it."""
    already, never = server.log.read_text().count(said), threading.Event()
    server.send(signal.SIGHUP)
    for _ in range(600):
        if server.log.read_text().count(said) > already:
            return
        never.wait(0.1)
    raise AssertionError(server.log.read_text())


def test_new_weights_and_the_tasks_of_the_old_ones(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(PROJECT / "weights" / "omniglot", weights)
    server = Server(tmp_path / "data", LEO_WEIGHTS=str(weights))
    try:
        server.start()
        old, first = create(server), version(server)

        (weights / "model.safetensors").write_bytes(b"half a file")
        (weights / "config.json").write_text((weights / "config.json").read_text().replace(first, "another"))
        reloaded(server, "the models stay as they are")
        assert version(server) == first

        shutil.copytree(PROJECT / "weights" / "omniglot", weights, dirs_exist_ok=True)
        other_weights(weights)
        reloaded(server, "reloaded: omniglot")
        second = version(server)
        assert second != first
        new = create(server)
        for task_id, of_version in ((old, first), (new, second)):
            answer = predict(server, task_id).json()
            assert answer["predictions"][0]["label"] == "ring"
            assert answer["model_version"] == of_version
        more = [("images", ("zed", png("vee", 1), "image/png"))]
        grown = httpx.post(f"{server.url}/tasks/{old}/support", data={"labels": ["vee"]}, files=more).json()
        assert (grown["model_version"], grown["labels"]) == (first, [*FIVE, "vee"])
        assert f'leo_model_info{{model="omniglot",version="{second}"}} 1.0' in httpx.get(f"{server.url}/metrics").text

        other_weights(weights)  # a second time: the first version is not held any longer
        reloaded(server, "reloaded: omniglot")
        refused = predict(server, old)
        assert refused.status_code == 409
        assert first in refused.json()["detail"]
        assert predict(server, new).json()["model_version"] == second
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        reloaded(server, "no model has changed")
    finally:
        server.close()
