"""Server, commands and training connect to this machine alone: no dependency reports anything to anyone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.drawn import CHARACTERS, png, write_omniglot
from tests.helpers.ports import free_port
from tests.helpers.server import wait_for_url

# What strace prints of an internet address; those of files and of the kernel (AF_UNIX, AF_NETLINK) are not outside.
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
LOOPBACK = re.compile(r"127\.[0-9.]+|0\.0\.0\.0|::1|::")
TRAIN = """
from app.cli import main
from model.training import presets
from tests.helpers.training import run_config
presets.PRESETS["small"] = run_config()
main()
"""


class Watched:
    """Programs run under strace, in a home folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._trace, self.home = folder / "trace", folder / "home"
        self.home.mkdir()

    def command(self, *python: str) -> list[str]:
        calls = "trace=connect,sendto,sendmsg,sendmmsg"
        return ["strace", "-f", "--seccomp-bpf", "-e", calls, "-o", str(self._trace), sys.executable, *python]

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEO_", "ORT_", "XDG_"))}
        # matplotlib's list of fonts is for the next plot, and nobody else's.
        return kept | {"HOME": str(self.home), "MPLCONFIGDIR": str(self.home.parent)} | settings

    def run(self, *python: str) -> None:
        done = subprocess.run(
            self.command(*python), env=self.environment(), cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def addresses(self) -> set[str]:
        return {found for pair in ADDRESS.findall(self._trace.read_text()) for found in pair if found}

    def check(self) -> None:
        outside = {address for address in self.addresses() if not LOOPBACK.fullmatch(address)}
        assert not outside
        assert [path for path in self.home.rglob("*") if path.is_file()] == []


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    if shutil.which("strace") is None:
        pytest.skip("strace is not here: apt-get install strace")
    return Watched(tmp_path)


def test_strace_sees_connections_that_leave(watched: Watched) -> None:
    """Without this the tests below could not fail. 192.0.2.1 is reserved for documentation (RFC 5737)."""
    watched.run("-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))")
    assert watched.addresses() == {"192.0.2.1"}


def test_the_server_connects_to_nobody_outside(watched: Watched, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    settings = {"LEO_PORT": str(port), "LEO_DATA_DIR": str(tmp_path / "data"), "LEO_MODELS": "photos-lite0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            watched.command("-m", "app.cli", "serve"),
            env=watched.environment(**settings),
            cwd=PROJECT,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for_url(f"http://127.0.0.1:{port}/readyz", process, log)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            names = list(CHARACTERS)[:5]
            images = [("images", ("a", png(name))) for name in names]
            task = client.post("/tasks", data={"labels": names}, files=images).json()["task_id"]
            assert client.post(f"/tasks/{task}/predict", files=images).status_code == 200
            assert client.get(f"/tasks/{task}/export.onnx").status_code == 200
            for page in ("/", "/docs", "/metrics"):
                assert client.get(page).status_code == 200
    finally:
        # strace hands no signals on: its child, the service's first process, is told itself.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), 15)
        process.wait(60)
    watched.check()


def test_classify_connects_to_nobody_outside(watched: Watched, tmp_path: Path) -> None:
    for name in ("ring", "tee"):
        folder = tmp_path / "support" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(png(name))
    watched.run("-m", "app.cli", "classify", str(tmp_path / "support"), str(tmp_path / "support" / "tee" / "1.png"))
    watched.check()


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_measuring_accuracy_connects_to_nobody_outside(watched: Watched, tmp_path: Path, command: str) -> None:
    data = write_omniglot(tmp_path / "images", ["Alpha", "Beta"])
    options = ["--way", "5", "--shot", "1", "--episodes", "10", "--query", "2", "--split", "all"]
    watched.run("-m", "app.cli", command, "--data", str(data), *options)
    watched.check()


def test_the_client_connects_to_its_server_only(watched: Watched) -> None:
    watched.run("-m", "app.cli", "tasks", "--help")
    watched.run("-c", "import leo_client, model.leo, model.serving.onnx_export, model.evaluation.plots")
    watched.check()


def test_training_connects_to_nobody_outside(watched: Watched, tmp_path: Path) -> None:
    data = write_omniglot(tmp_path / "images", ["Alpha", "Beta", "Tagalog"], 18)
    out = str(tmp_path / "out")
    watched.run("-c", TRAIN, "train", "--data", str(data), "--out", out, "--preset", "small", "--device", "cpu")
    watched.check()
