"""The service on Ray answers as it does elsewhere, keeps tasks on their replica and survives a killed node."""

import subprocess
import sys

import httpx

from app.settings import PROJECT
from bench.tasks import make_tasks, predict_each
from tests.helpers.drawn import CHARACTERS, png
from tests.ray import scenarios
from tests.ray.cluster import RayCluster

FIVE = list(CHARACTERS)[:5]


def test_the_same_service_answers(cluster: RayCluster) -> None:
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        assert client.get("/readyz").json() == {"status": "ready", "workers": 1, "workers_ready": 1}
        assert "<title>" in client.get("/").text
        files = [("images", (name, png(name), "image/png")) for name in FIVE]
        made = client.post("/tasks", data={"labels": FIVE}, files=files)
        assert made.status_code == 201
        task = f"/tasks/{made.json()['task_id']}"
        asked = client.post(f"{task}/predict", files=[("images", ("q", png("ring", 70)))])
        assert asked.json()["predictions"][0]["label"] == "ring"
        assert client.get(task).json()["labels"] == FIVE
        assert client.delete(task).status_code == 204
        assert client.get(task).status_code == 404
        bad = client.post("/tasks", data={"labels": FIVE}, files=[("images", ("x", b"nothing"))] * 5)
        assert (bad.status_code, bad.json()["index"]) == (422, 0)
        large = client.post("/tasks", content=b"x" * 200_000, headers={"Content-Type": "application/json"})
        assert large.status_code == 413


def test_a_tasks_calls_go_to_one_replica_whatever_session_a_client_claims(cluster: RayCluster) -> None:
    tasks = make_tasks(cluster.url, 20)
    predict_each(cluster.url, tasks, 1)
    before = scenarios.lookups(cluster)
    assert predict_each(cluster.url, tasks, 3) == {"200": 60}
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        for n, task_id in enumerate(tasks):
            claim = {"x-session-id": f"session-{n}"}
            query = [("images", ("q", png("ring", 70)))]
            assert client.post(f"/tasks/{task_id}/predict", files=query, headers=claim).status_code == 200
    after = scenarios.lookups(cluster)
    assert after["miss"] == before["miss"]
    assert after["hit"] == before["hit"] + 80


def test_a_node_that_dies_fails_no_one_who_asks_again(cluster: RayCluster) -> None:
    counts = scenarios.node_killed(cluster)
    assert counts["failed_after_retries"] == 0, counts["failures"]
    assert counts["lost"] == 0
    assert counts["acknowledged_tasks"] > 8


def test_without_a_shared_store_it_does_not_start() -> None:
    code = "from app.on_ray.service import build; build()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode != 0
    assert "set LEO_STORE_URL" in done.stderr
