import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from model.checkpoint import read_info
from model.training import presets
from tests.conftest import WEIGHTS
from tests.helpers.drawn import write_omniglot
from tests.model.evaluation.test_lake_runs import write_runs
from tests.model.training.test_drawings import run_config


def leo(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return re.sub(r"\s+", " ", result.output)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_omniglot(tmp_path / "images", ["Alpha", "Beta", "Tagalog"], 18)


def test_help_tells_the_commands() -> None:
    said = leo("--help")
    for command in ("serve", "train", "evaluate", "compare"):
        assert command in said
    assert "LEO_DATA_DIR" in leo("serve", "--help")


def test_evaluate_several_ways_and_shots_into_json(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "out.json"
    common = ("evaluate", "--data", data, "--split", "validation", "--query", 3, "--episodes", 30, "--out", out)
    said = leo(*common, "--way", "2,5", "--shot", 1, "--shot", 5)
    assert "omniglot" in said
    result: dict[str, Any] = json.loads(out.read_text())
    assert result["model"] == "omniglot"
    assert result["data"] == "images"
    assert [(row["way"], row["shot"]) for row in result["rows"]] == [(2, 1), (2, 5), (5, 1), (5, 5)]
    for row in result["rows"]:
        assert (row["query"], row["episodes"], row["inner_steps"]) == (3, 30, 5)
        assert 0.9 < row["accuracy"] <= 1
        assert 0 <= row["ece"] < 0.3
        assert (row["auroc"] is None) == (row["way"] == 10)
    leo(*common, "--inner-steps", 0)
    assert json.loads(out.read_text())["rows"][0]["inner_steps"] == 0


def test_evaluate_everything_in_one_run(data: Path, tmp_path: Path) -> None:
    out, png = tmp_path / "out.json", tmp_path / "new" / "report.png"
    said = leo(
        *(
            "evaluate",
            "--data",
            data,
            "--way",
            "2,10",
            "--shot",
            "1,1-5",
            "--inner-steps",
            "0,5",
            "--within",
            "alphabet",
        ),
        *("--episodes", 20, "--out", out, "--report", png),
    )
    assert "10-way 1-5-shot: 5 steps less 0:" in said
    result: dict[str, Any] = json.loads(out.read_text())
    assert [(row["way"], row["shot"], row["inner_steps"], row["query"]) for row in result["rows"]] == [
        (way, shot, steps, query) for way in (2, 10) for shot, query in ((1, 15), ("1-5", 13)) for steps in (0, 5)
    ]
    assert all(row["within"] == "alphabet" for row in result["rows"])
    assert len(result["differences"]) == 4
    for bins in result["calibration"]:
        assert len(bins["counts"]) == len(bins["accuracy"]) == len(bins["confidence"]) == 15
        assert sum(bins["counts"]) in (20 * bins["way"] * 15, 20 * bins["way"] * 13)
    for two_ways, ten_ways in zip(result["unknown"][:4], result["unknown"][4:], strict=True):
        assert set(two_ways["scores"]) >= {"probability", "logit", "mean_cosine"}
        assert ten_ways["scores"] == {}  # an alphabet of ten leaves no stranger
    assert result["temperature"] == read_info(WEIGHTS / "omniglot").config.temperature
    assert png.stat().st_size > 50_000


def test_compare_trains_the_baselines_once_and_sets_all_methods_side_by_side(data: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "new" / "compare.json", tmp_path / "baselines"
    common = (
        *("compare", "--data", data, "--baselines", folder, "--way", 5, "--shot", 1, "--query", 2, "--episodes", 8),
        *("--repeats", 1, "--out", out),
    )
    assert "--train-baselines trains them" in leo(*common)
    assert len(json.loads(out.read_text())["rows"]) == 4
    said = leo(*common, "--train-baselines", "--baseline-steps", 2, "--baseline-images", 30)
    assert "2 steps of up to 30 images" in said
    assert "less LEO's" in said
    trained = out.read_text()
    result: dict[str, Any] = json.loads(trained)
    assert [row["method"] for row in result["rows"]][-4:] == ["logistic head", "MAML", "Meta-SGD", "ANIL"]
    assert result["baselines"]["budget"]["steps"] == 2
    assert result["baselines"]["training_classes"] == 20
    leo(*common)  # from the folder now
    again = json.loads(out.read_text())["rows"]
    assert "there are leo 0 steps" in leo(*common, "--skip", "MAMA", status=1)
    leo(*common, "--skip", "maml,Meta-SGD")
    assert [row["method"] for row in json.loads(out.read_text())["rows"]][-2:] == ["logistic head", "ANIL"]
    for one, other in zip(result["rows"], again, strict=True):
        assert one["adapt"]["milliseconds"] > 0
        assert one["accuracy"] == other["accuracy"]


def test_compare_names_a_folder_of_another_model(data: Path, tmp_path: Path) -> None:
    (tmp_path / "baselines.json").write_text('{"model_version": "old", "l2": 0.1}')
    said = leo("compare", "--data", data, "--baselines", tmp_path, "--episodes", 2, status=1)
    assert "belongs to version old of the model" in said
    assert "--train-baselines" in said


def test_evaluate_lakes_runs(tmp_path: Path) -> None:
    out = tmp_path / "runs.json"
    leo("evaluate", "--data", write_runs(tmp_path / "all_runs"), "--protocol", "runs", "--out", out)
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["way"], row["shot"], row["episodes"]) == (10, 1, 2)
    assert row["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "absent"), "no data at absent"),
        (("--data", ".", "--protocol", "x"), "no protocol called 'x'"),
        (("--data", ".", "--way", "five"), "whole numbers"),
        (("--data", ".", "--shot", "1-x"), "whole numbers or ranges"),
        (("--data", ".", "--within", "page"), "within one alphabet"),
        (("--data", ".", "--inner-steps", "0,-1"), "must not be negative"),
        (("--data", ".", "--protocol", "runs", "--report", "x.png"), "draws episodes"),
        (("--data", ".", "--model", "absent"), "absent/config.json is missing"),
        (("--data", ".", "--device", "tpu"), "no device called 'tpu'"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    output = leo("evaluate", *arguments, status=1)
    assert "error:" in output
    assert said in output


def test_too_little_data_for_the_task_asked_for(data: Path) -> None:
    assert "this data has 10" in leo("evaluate", "--data", data, "--split", "validation", "--way", 20, status=1)
    assert "no split called" in leo("evaluate", "--data", data, "--split", "test", status=1)


def test_train_writes_a_model_that_evaluate_takes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What `_finish` measures needs 20 classes of 20 drawings.
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    monkeypatch.setitem(presets.PRESETS, "small", run_config())
    out = tmp_path / "run"
    said = leo("train", "--data", data, "--out", out, "--preset", "small", "--device", "cpu")
    assert "wrote" in said
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
    leo("evaluate", "--data", data, "--split", "validation", "--model", out / "model", "--episodes", 5, "--query", 2)


def test_card_measures_the_same_again(data: Path, tmp_path: Path) -> None:
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    folder = tmp_path / "omniglot"
    shutil.copytree(WEIGHTS / "omniglot", folder)
    one = leo("card", "--data", data, "--model", folder, "--episodes", 20)
    assert "5 steps add" in one
    assert leo("card", "--data", data, "--model", folder, "--episodes", 20, "--write") == one
    card = json.loads((folder / "config.json").read_text())["card"]
    assert card["validation"]["episodes"] == 20
    assert f"{100 * card['validation']['rows'][1]['accuracy']:.2f}" in (folder / "README.md").read_text()


def test_narrow_writes_another_version_and_says_what_it_costs(data: Path, tmp_path: Path) -> None:
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    out, model = tmp_path / "narrow", WEIGHTS / "omniglot"
    said = leo("narrow", "--model", model, "--data", data, "--rank", 128, "--out", out, "--episodes", 20)
    before, after = read_info(model), read_info(out)
    assert f"{after.version}, of rank 128" in said
    assert f"{before.version}, validation classes" in said
    assert after.config.decoder_rank == 128
    assert after.card["command"].endswith("&& leo narrow --rank 128")
    assert after.card["shape"]["parameters"] < before.card["shape"]["parameters"]
    assert after.version in (out / "README.md").read_text()
    evaluated = leo("evaluate", "--data", data, "--split", "validation", "--model", out, "--episodes", 5, "--query", 2)
    assert after.version in evaluated


def test_narrow_refuses_in_one_line(data: Path, tmp_path: Path) -> None:
    for model, rank, why in (
        ("omniglot", 8, "from 64, the length of a code, to 512"),
        ("omniglot-105", 128, "without experts, basis"),
        ("photos-lite0", 128, "only models of drawings"),
    ):
        given = ("--model", WEIGHTS / model, "--data", data, "--rank", rank, "--out", tmp_path / "out")
        assert why in leo("narrow", *given, status=1)
    assert not (tmp_path / "out").exists()


def test_train_says_what_it_lacks(data: Path, tmp_path: Path) -> None:
    assert "no preset called 'huge'" in leo("train", "--data", data, "--out", tmp_path, "--preset", "huge", status=1)
    assert "--teacher" in leo("train", "--data", data, "--out", tmp_path, "--preset", "omniglot-105", status=1)


@pytest.mark.parametrize("name", ["omniglot", "omniglot-105"])
def test_a_shipped_card_says_what_its_config_says(name: str) -> None:
    described = json.loads((WEIGHTS / name / "config.json").read_text())
    readme = (WEIGHTS / name / "README.md").read_text()
    assert described["version"] in readme
    assert len(described["card"]["validation"]["rows"]) == 14
    for row in described["card"]["validation"]["rows"]:
        assert f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}" in readme
