"""Commands that are given a device without an end, or a pipe that nobody writes to, say so and stop."""

import os
from pathlib import Path

import httpx
import pytest

from leo_client import Client
from tests.helpers.command import run_leo


@pytest.fixture(params=["device", "pipe"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "device":
        return Path("/dev/zero")
    os.mkfifo(tmp_path / "pipe.zip")
    return tmp_path / "pipe.zip"


def test_no_task_is_imported_from_them(client: httpx.Client, special: Path) -> None:
    refused = run_leo("tasks", "import", special, status=1, LEO_URL=str(client.base_url))
    assert "cannot be imported: it is not a file" in refused.stderr


def test_no_more_is_imported_than_the_server_takes(client: httpx.Client, tmp_path: Path) -> None:
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    refused = run_leo("tasks", "import", large, status=1, LEO_URL=str(client.base_url))
    assert "cannot be imported: it is larger than 32 MiB" in refused.stderr


def test_no_keys_are_read_from_them(special: Path) -> None:
    assert "it is not a file" in run_leo("keys", "list", "--file", special, status=1).stderr


def test_no_weights_are_fetched_from_them(special: Path, tmp_path: Path) -> None:
    cache = {"LEO_BACKBONES_DIR": str(tmp_path)}
    assert "pipe or device" in run_leo("backbones", "fetch", "clip-vit-b16", special, status=1, **cache).stderr


@pytest.mark.parametrize("command", [("classify",), ("tasks", "create"), ("tasks", "evaluate", "x")])
def test_no_examples_are_read_from_them(special: Path, command: tuple[str, ...]) -> None:
    queries = (special,) if command == ("classify",) else ()
    refused = run_leo(*command, special, *queries, status=1, LEO_URL="http://127.0.0.1:9").stderr
    assert "pipe or device" in refused


def test_the_client_reads_no_file_without_an_end(client: httpx.Client) -> None:
    with Client(str(client.base_url)) as leo, pytest.raises(ValueError, match="larger than 256 MiB"):
        leo.predict("task", [Path("/dev/zero")])
