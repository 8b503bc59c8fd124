"""Tests of the log of a training run."""

import csv
import json
from pathlib import Path

from model.training.history import Progress, append_to_log, cut_log


def test_a_log_has_one_header_and_a_line_for_each_call(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append_to_log(path, Progress("pretrain", 250, 500, 1.2345678, 812.34, 0.9, {"accuracy": 0.1234567}), 12.34)
    append_to_log(path, Progress("episodes", 10, 20, 0.5, 99.0), 20.0)
    with path.open() as file:
        first, second = csv.DictReader(file)
    assert (first["stage"], first["step"], first["seconds"], first["loss"]) == ("pretrain", "250", "12.3", "1.23457")
    assert (first["validation"], first["images_per_second"]) == ("0.9", "812.3")
    assert json.loads(first["watch"]) == {"accuracy": 0.12346}
    assert (second["stage"], second["validation"], json.loads(second["watch"])) == ("episodes", "", {})


def test_a_log_is_cut_to_what_a_checkpoint_knows_of(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    cut_log(path, "pretrain", 0)  # there is none yet
    for stage, step in (("pretrain", 4), ("pretrain", 8), ("episodes", 4)):
        append_to_log(path, Progress(stage, step, 8, 1.0, 99.0, 0.5, {"a": 1.0, "b": 2.0}), 1.0)
    whole = path.read_bytes()
    cut_log(path, "episodes", 4)
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"episodes,8,2.0,0.")  # killed while it wrote a line
    cut_log(path, "episodes", 8)
    assert path.read_bytes() == whole
    cut_log(path, "episodes", 3)
    assert path.read_bytes().splitlines() == whole.splitlines()[:3]
    cut_log(path, "pretrain", 0)
    assert not path.exists()
