"""A service's folder goes with it, also where nobody could remove it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.process.run_folder import LOCK, run_folder

HOLD = """
import sys, time
from app.process.run_folder import run_folder
with run_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def held(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder."""
    given = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", HOLD], env=given, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_of_a_killed_service_goes_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (living, kept), (killed, left) = held(tmp_path), held(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        foreign, elsewhere, pipe = tmp_path / "leo-run-foreign", tmp_path / "elsewhere", tmp_path / "leo-run-pipe"
        for folder in (foreign, elsewhere, pipe):
            folder.mkdir()
        (elsewhere / LOCK).touch()
        (tmp_path / "leo-run-link").symlink_to(elsewhere)
        os.mkfifo(pipe / LOCK)
        assert left.is_dir()
        with run_folder() as own:
            assert own.is_dir()
            assert kept.is_dir()
            assert not left.exists()
            assert foreign.is_dir()
            assert (elsewhere / LOCK).exists()
        assert not own.exists()
    finally:
        living.kill()
        living.communicate()
