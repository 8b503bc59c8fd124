"""Tests of `leo compare`."""

import json
from pathlib import Path
from typing import Any

from tests.helpers.command import leo_output


def test_baselines_are_trained_once_and_compared(data: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "new" / "compare.json", tmp_path / "baselines"
    common = (
        *("compare", "--data", data, "--baselines", folder, "--way", 5, "--shot", 1, "--query", 2, "--episodes", 8),
        *("--repeats", 1, "--out", out),
    )
    assert "--train-baselines trains them" in leo_output(*common, "--skip", "MAML,ANIL")
    assert len(json.loads(out.read_text())["rows"]) == 4
    output = leo_output(*common, "--train-baselines", "--baseline-steps", 2, "--baseline-images", 30)
    assert "2 steps of up to 30 images" in output
    assert "less LEO's" in output
    trained = out.read_text()
    result: dict[str, Any] = json.loads(trained)
    assert [row["method"] for row in result["rows"]][-4:] == ["logistic head", "MAML", "Meta-SGD", "ANIL"]
    assert result["baselines"]["budget"]["steps"] == 2
    assert result["baselines"]["training_classes"] == 20
    leo_output(*common)  # reads the trained baselines from the folder
    again = json.loads(out.read_text())["rows"]
    assert "there are leo 0 steps" in leo_output(*common, "--skip", "MAMA", status=1)
    leo_output(*common, "--skip", "maml,Meta-SGD")
    assert [row["method"] for row in json.loads(out.read_text())["rows"]][-2:] == ["logistic head", "ANIL"]
    # One method is trained alone; what was trained before stays.
    leo_output(*common, "--train-baselines", "--skip", "MAML,Meta-SGD", "--baseline-steps", 3, "--baseline-images", 30)
    assert json.loads((folder / "baselines.json").read_text())["steps"] == {"MAML": 2, "Meta-SGD": 2, "ANIL": 3}
    for one, other in zip(result["rows"], again, strict=True):
        assert one["adapt"]["milliseconds"] > 0
        assert one["accuracy"] == other["accuracy"]


def test_baselines_of_another_model_are_an_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "baselines.json").write_text('{"model_version": "old", "l2": 0.1, "steps": {}}')
    output = leo_output("compare", "--data", data, "--baselines", tmp_path, "--episodes", 2, status=1)
    assert "belongs to version old of the model" in output
    assert "--train-baselines" in output
