"""Tests of `leo evaluate`."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import read_info
from tests.helpers.command import leo_output
from tests.helpers.lake_runs import write_runs
from tests.helpers.models import WEIGHTS


def test_several_ways_and_shots_as_json(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "out.json"
    common = ("evaluate", "--data", data, "--split", "validation", "--query", 3, "--episodes", 30, "--out", out)
    output = leo_output(*common, "--way", "2,5", "--shot", 1, "--shot", 5)
    assert "omniglot" in output
    result: dict[str, Any] = json.loads(out.read_text())
    assert result["model"] == "omniglot"
    assert result["data"] == "images"
    assert [(row["way"], row["shot"]) for row in result["rows"]] == [(2, 1), (2, 5), (5, 1), (5, 5)]
    for row in result["rows"]:
        assert (row["query"], row["episodes"], row["inner_steps"]) == (3, 30, 5)
        assert 0.9 < row["accuracy"] <= 1
        assert 0 <= row["ece"] < 0.3
        assert (row["auroc"] is None) == (row["way"] == 10)
    leo_output(*common, "--inner-steps", 0)
    assert json.loads(out.read_text())["rows"][0]["inner_steps"] == 0


def test_ways_shots_steps_and_report_in_one_run(data: Path, tmp_path: Path) -> None:
    out, png = tmp_path / "out.json", tmp_path / "new" / "report.png"
    output = leo_output(
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
    assert "10-way 1-5-shot: 5 steps less 0:" in output
    result: dict[str, Any] = json.loads(out.read_text())
    assert [(row["way"], row["shot"], row["inner_steps"], row["query"]) for row in result["rows"]] == [
        (way, shot, steps, query) for way in (2, 10) for shot, query in ((1, 15), ("1-5", 13)) for steps in (0, 5)
    ]
    assert all(row["within"] == "alphabet" for row in result["rows"])
    assert len(result["differences"]) == 4
    assert len(result["calibration"]) == len(result["unknown"]) == 8
    for bins in result["calibration"]:
        assert len(bins["counts"]) == len(bins["accuracy"]) == len(bins["confidence"]) == 15
        assert sum(bins["counts"]) in (20 * bins["way"] * 15, 20 * bins["way"] * 13)
    for two_ways, ten_ways in zip(result["unknown"][:4], result["unknown"][4:], strict=True):
        assert set(two_ways["scores"]) >= {"probability", "logit", "mean_cosine"}
        assert ten_ways["scores"] == {}  # an alphabet of ten has no class left that is unknown
    assert result["temperature"] == read_info(WEIGHTS / "omniglot").config.temperature
    assert png.stat().st_size > 50_000


def test_lakes_runs(tmp_path: Path) -> None:
    out = tmp_path / "runs.json"
    leo_output("evaluate", "--data", write_runs(tmp_path / "all_runs"), "--protocol", "runs", "--out", out)
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["way"], row["shot"], row["episodes"]) == (10, 1, 2)
    assert row["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "absent"), "no data at absent"),
        (("--data", ".", "--protocol", "x"), "no protocol called 'x'"),
        (("--data", ".", "--way", "five"), "whole numbers"),
        (("--data", ".", "--shot", "1-x"), "whole numbers or ranges"),
        (("--data", ".", "--within", "page"), "--within alphabet"),
        (("--data", ".", "--inner-steps", "0,-1"), "must not be negative"),
        (("--data", ".", "--protocol", "runs", "--report", "x.png"), "--protocol runs"),
        (("--data", ".", "--model", "absent"), "absent/config.json is missing"),
        (("--data", ".", "--device", "tpu"), "no device called 'tpu'"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    output = leo_output("evaluate", *arguments, status=1)
    assert "error:" in output
    assert message in output


def test_too_little_data_for_the_tasks(data: Path) -> None:
    assert "this data has 10" in leo_output("evaluate", "--data", data, "--split", "validation", "--way", 20, status=1)
    assert "no split called" in leo_output("evaluate", "--data", data, "--split", "test", status=1)
