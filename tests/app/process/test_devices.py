"""Device processes as their parent looks after them."""

import signal
from pathlib import Path

import pytest

from app.inference.remote.board import Board
from app.process.devices import DeviceProcesses


def test_a_device_process_that_hangs_is_ended_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # where a process that has ended left its counts
    board = Board(["cpu"], tmp_path)
    devices = DeviceProcesses(board, lambda _: signal.pause(), deadline=0.0)
    try:
        devices.look()
        (process,) = [each.process for each in devices._processes]
        assert process
        board.beats[0] = 0.0  # it has not answered since the machine started
        while devices._processes[0].process is process:
            devices.look()
        assert sum("has hung" in line for line in caplog.messages) == 1
        assert sum("starting another" in line for line in caplog.messages) == 1
    finally:
        devices.stop()
        board.close()
