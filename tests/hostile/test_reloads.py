"""Reloads that come at bad moments: in quick succession, of broken files, while the service stops."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from app.settings import PROJECT
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from tests.helpers.server import Server
from tests.helpers.waiting import wait_until
from tests.helpers.workers import wait_for_workers, worker_ids

WORKERS = 2


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT / "weights" / "omniglot", tmp_path / "weights"))


@pytest.fixture
def server(tmp_path: Path, weights: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", LEO_WORKERS=str(WORKERS), LEO_WEIGHTS=str(weights))
    try:
        server.start()
        wait_for_workers(server, WORKERS)
        yield server
    finally:
        server.close()


def train_further(weights: Path) -> None:
    """Replace a model by one that differs a little."""
    leo = LatentEmbeddingOptimization.from_pretrained(weights)
    with torch.no_grad():
        leo.alpha.mul_(1.01)
    save_model(leo, weights, "omniglot", {})


def versions(server: Server) -> set[str]:
    """Return the versions that workers answered with, over many connections."""
    return {str(httpx.get(f"{server.url}/models", timeout=30).json()["models"][0]["version"]) for _ in range(20)}


def test_reloads_in_quick_succession_fail_no_request_and_end_in_one_version(server: Server, weights: Path) -> None:
    """New weights each time, and a signal before the one before can have been acted on."""
    statuses, over = list[int](), threading.Event()

    def create_and_ask() -> None:
        while not over.is_set():
            statuses.append(server.predict_ring(server.create_task()).status_code)

    clients = [threading.Thread(target=create_and_ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(4):
            train_further(weights)
            server.send(signal.SIGHUP)
            server.send(signal.SIGHUP)
        last = str(json.loads((weights / "config.json").read_text())["version"])
        wait_until(lambda: versions(server) == {last})
    finally:
        over.set()
        for client in clients:
            client.join()
    # 409 says that a task's version is gone: between a creation and its prediction two reloads may lie.
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) > 10
    assert "Traceback" not in server.log.read_text()


def test_broken_weights_change_nothing_in_any_worker(server: Server, weights: Path) -> None:
    before, task_id = versions(server), server.create_task()
    file = weights / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    server.send(signal.SIGHUP)
    wait_until(lambda: server.log.read_text().count("the models stay as they are") == WORKERS)
    assert versions(server) == before
    assert {server.predict_ring(task_id).status_code for _ in range(10)} == {200}


def test_a_reload_that_comes_while_the_service_stops_does_no_harm(server: Server, weights: Path) -> None:
    train_further(weights)
    server.send(signal.SIGTERM)
    server.send(signal.SIGHUP)
    assert server.wait_for_exit() == 0
    assert "Traceback" not in server.log.read_text()


def test_a_signal_to_one_worker_alone_reloads_it(server: Server, weights: Path) -> None:
    """As a process manager may send it to every process that it finds."""
    train_further(weights)
    for worker in worker_ids(server):
        os.kill(worker, signal.SIGHUP)
    wait_until(lambda: server.log.read_text().count("reloaded: omniglot") == WORKERS)
    assert len(versions(server)) == 1
