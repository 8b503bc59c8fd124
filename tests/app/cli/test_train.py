"""Tests of `leo train`."""

import json
from pathlib import Path

import pytest

from model.training import presets
from tests.helpers.command import leo_output
from tests.helpers.drawn import write_omniglot
from tests.helpers.training import run_config


def test_a_trained_model_can_be_evaluated(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The card needs 20 validation classes of 20 drawings.
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    monkeypatch.setitem(presets.PRESETS, "small", run_config())
    out = tmp_path / "run"
    output = leo_output("train", "--data", data, "--out", out, "--preset", "small", "--device", "cpu")
    assert "wrote" in output
    card = json.loads((out / "model" / "config.json").read_text())["card"]
    assert card["validation_alphabets"] == ["Sanskrit", "Tagalog"]
    assert card["training_classes"] == 20
    assert [(row["way"], row["shot"], row["inner_steps"]) for row in card["validation"]["rows"][:4]] == [
        (5, 1, 0),
        (5, 1, 5),
        (5, 5, 0),
        (5, 5, 5),
    ]
    assert (out / "curve.png").stat().st_size > 1000
    readme = (out / "model" / "README.md").read_text()
    assert f"{100 * card['validation']['rows'][1]['accuracy']:.2f}" in readme
    leo_output(
        "evaluate", "--data", data, "--split", "validation", "--model", out / "model", "--episodes", 5, "--query", 2
    )


def test_errors_say_what_is_missing(data: Path, tmp_path: Path) -> None:
    assert "no preset called 'huge'" in leo_output(
        "train", "--data", data, "--out", tmp_path, "--preset", "huge", status=1
    )
    assert "--teacher" in leo_output("train", "--data", data, "--out", tmp_path, "--preset", "omniglot-105", status=1)
