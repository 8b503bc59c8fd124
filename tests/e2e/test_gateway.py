"""The gateway's own configuration, run by a real nginx in front of a real server."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.drawn import CHARACTERS, png
from tests.e2e.conftest import Server, free_port, wait_for

FIVE = list(CHARACTERS)[:5]


@pytest.fixture
def gateway(server: Server, tmp_path: Path) -> Iterator[str]:
    """URL of an nginx with deploy/nginx.conf; only addresses and the pid file are this test's own."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    port = free_port()
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    for there, here in [
        ("server leo:8000;", f"server 127.0.0.1:{server.port};"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("pid /tmp/nginx.pid;", f"pid {tmp_path}/nginx.pid;"),
    ]:
        assert there in text
        text = text.replace(there, here)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(text)
    log = tmp_path / "nginx.log"
    with log.open("wb") as output:
        command = [nginx, "-c", str(configuration), "-e", "stderr", "-g", "daemon off;"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_create_and_predict_through_the_gateway(gateway: str, server: Server) -> None:
    with httpx.Client(base_url=gateway, timeout=30) as client:
        images = [("images", (name, png(name), "image/png")) for name in FIVE]
        created = client.post("/tasks", data={"labels": FIVE}, files=images)
        assert created.status_code == 201
        queries = [("images", (name, png(name, 80), "image/png")) for name in FIVE]
        answer = client.post(f"{created.headers['location']}/predict", files=queries)
        assert [prediction["label"] for prediction in answer.json()["predictions"]] == FIVE

        too_large = client.post("/tasks", content=b"x" * (33 * 2**20))
        assert too_large.status_code == 413
        assert too_large.headers["content-type"] == "application/problem+json"
        assert too_large.json()["status"] == 413

        server.close()
        down = client.get("/models")
        assert down.status_code == 503
        assert down.headers["retry-after"] == "1"
        assert down.json()["detail"].startswith("no replica answers")
