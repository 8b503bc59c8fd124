"""Dockerfile and docker-compose.yml, built and run. DOCKER names what runs them, `docker` by default."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.curl import EXPECTED, create_with_curl, predict_with_curl, write_drawings
from tests.helpers.ports import free_port
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until

DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))
LIMITS = {"leo-1": 2 * 2**30, "leo-2": 2 * 2**30, "leo-3": 2 * 2**30, "gateway": 2**29}  # bytes
pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(shutil.which(DOCKER[0]) is None, reason=f"{DOCKER[0]} is not here; set DOCKER"),
]


def docker(*arguments: str, port: int) -> str:
    environment = os.environ | {"LEO_GATEWAY_PORT": str(port)}
    done = subprocess.run(
        [*DOCKER, *arguments], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def wait_until_ready(url: str, path: str = "/readyz") -> None:
    """Wait until a path answers 200, for three minutes at most."""

    def is_ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}{path}", timeout=5).status_code == 200
        return False

    wait_until(is_ready, seconds=180)


@pytest.fixture
def port() -> Iterator[int]:
    """The gateway's port while the containers run."""
    port = free_port()
    docker("compose", "build", "leo-1", port=port)  # all three replicas run the one image
    docker("compose", "up", "-d", port=port)
    try:
        yield port
    finally:
        docker("compose", "down", "-v", port=port)


def test_a_task_survives_killed_containers_which_run_with_few_rights(port: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(url)
    write_drawings(tmp_path)
    created = create_with_curl(url, tmp_path)
    assert created["labels"] == FIVE
    assert predict_with_curl(url, created["task_id"], tmp_path) == EXPECTED

    # One replica and Redis are killed: the supervisor starts them again, and the task is still there.
    for service in ("leo-1", "redis"):
        docker("compose", "kill", "-s", "KILL", service, port=port)
    docker("compose", "up", "-d", port=port)
    wait_until_ready(url)
    wait_until_ready(url, f"/tasks/{created['task_id']}")  # readiness does not depend on the store
    assert predict_with_curl(url, created["task_id"], tmp_path) == EXPECTED

    for service in ("leo-1", "leo-2", "leo-3", "gateway"):
        status = docker("compose", "exec", "-T", service, "cat", "/proc/self/status", port=port)
        found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        assert found["Uid"].split()[0] != "0"  # not root
        assert int(found["CapEff"], 16) == 0  # no capabilities
        assert found["NoNewPrivs"].strip() == "1"
        mounts = docker("compose", "exec", "-T", service, "cat", "/proc/self/mounts", port=port)
        (root,) = (line.split()[3] for line in mounts.splitlines() if line.split()[1] == "/")
        assert "ro" in root.split(",")  # a read-only root
        # Where whoever runs the containers has no cgroups, nothing enforces the limit: then use must be under it.
        look = "cat /sys/fs/cgroup/memory.max 2>/dev/null || echo none; grep VmHWM /proc/1/status"
        limit, peak = docker("compose", "exec", "-T", service, "sh", "-c", look, port=port).splitlines()
        print(service, "memory limit", limit, peak)  # noqa: T201
        assert limit in ("none", str(LIMITS[service]))
        assert int(peak.split()[1]) * 1024 < LIMITS[service]
    models = httpx.get(f"{url}/models").json()["models"]
    print(json.dumps({"created": created["task_id"], "model": models[0]["name"]}))  # noqa: T201
