"""Tests of `leo train` in a process of its own, which is killed at every stage and run again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from model.checkpoint import CONFIG, WEIGHTS
from tests.helpers.drawn import write_omniglot

# Runs `leo train`. Given the name of a function and a number, it is killed in that call of the function, a checkpoint
# half written.
SCRIPT = """
import importlib, os, signal, sys
from tests.helpers.training import run_config
from model.evaluation import calibration, drawing_card
from model.training import presets

changes = {"pretrain_steps": 12, "episode_steps": 8, "view_steps": 8, "validate_every": 4, "checkpoint_every": 3}
presets.PRESETS["tiny"] = run_config(**changes, after_training={"support_views": 2, "inner_temperature": 2.0})
drawing_card.measure_drawing_figures.__defaults__ = (20,)  # tasks
calibration.calibrate.__defaults__ = (5, 1)  # tasks and seed
where, call = sys.argv.pop(1), int(sys.argv.pop(1))
if where:
    module, _, name = where.rpartition(".")
    module = importlib.import_module(module)
    original, calls = getattr(module, name), [0]

    def killed(*given, **options):
        calls[0] += 1
        if calls[0] == call:
            if name == "save":
                given[1].write_bytes(b"half of a")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **options)

    setattr(module, name, killed)
from app.cli import app
app()
"""
MOMENTS = (
    ("model.training.pretraining.process_generator", 8),  # in the first stage, between two checkpoints
    ("torch.save", 2),  # a checkpoint is half written
    ("model.training.drawings.save_model", 3),  # in the second stage; the log has a line that no checkpoint knows of
    ("model.training.view_teaching._distance", 11),  # in the sixth step of the third stage, between two checkpoints
    ("model.evaluation.drawing_card.measure_drawing_figures", 1),  # after the calibration
)


def train(data: Path, out: Path, where: str = "", call: int = 0) -> int:
    command = [sys.executable, "-c", SCRIPT, where, str(call), "train", "--preset", "tiny", "--device", "cpu"]
    return subprocess.run([*command, "--data", data, "--out", out], capture_output=True, timeout=240).returncode


def contents(out: Path) -> dict[str, object]:
    """What a run wrote, but for its times."""
    config = json.loads((out / "model" / CONFIG).read_text())
    rows = config["card"]["validation"]["rows"]
    log = [line.split(",") for line in (out / "log.csv").read_text().splitlines()]
    return {
        "weights": (out / "model" / WEIGHTS).read_bytes(),
        "settings": {key: config[key] for key in ("name", "version", "sha256", "config")},
        "rows": rows,
        "log": [[stage, step, loss, validation] for stage, step, _, loss, validation, *_ in log],
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*")),
    }


def test_a_run_killed_at_every_stage_ends_with_the_same_bytes(tmp_path: Path) -> None:
    data = write_omniglot(tmp_path / "data", ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    assert train(data, tmp_path / "whole") == 0
    for where, call in MOMENTS:
        assert train(data, tmp_path / "killed", where, call) == -signal.SIGKILL, where
    assert train(data, tmp_path / "killed") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
