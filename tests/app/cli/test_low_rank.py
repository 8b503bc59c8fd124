"""Tests of `leo low-rank` and of `leo narrow`, its old name."""

from pathlib import Path

from model.checkpoint import read_info
from tests.helpers.command import leo_output, run_leo
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS


def test_another_version_is_written_and_both_are_measured(data: Path, tmp_path: Path) -> None:
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    out, model = tmp_path / "low-rank", WEIGHTS / "omniglot"
    output = leo_output("low-rank", "--model", model, "--data", data, "--rank", 128, "--out", out, "--episodes", 20)
    before, after = read_info(model), read_info(out)
    assert f"{after.version}, of rank 128" in output
    assert f"{before.version}, validation classes" in output
    assert after.config.decoder_rank == 128
    assert after.card["command"].endswith("&& leo low-rank --rank 128")
    assert after.card["shape"]["parameters"] < before.card["shape"]["parameters"]
    assert after.version in (out / "README.md").read_text()
    evaluated = leo_output(
        "evaluate", "--data", data, "--split", "validation", "--model", out, "--episodes", 5, "--query", 2
    )
    assert after.version in evaluated


def test_errors_are_one_line(data: Path, tmp_path: Path) -> None:
    for model, rank, message in (
        ("omniglot", 8, "from 64, the length of a code, to 512"),
        ("omniglot-105", 128, "without experts, basis"),
        ("photos-lite0", 128, "only models of drawings"),
    ):
        given = ("--model", WEIGHTS / model, "--data", data, "--rank", rank, "--out", tmp_path / "out")
        assert message in leo_output("low-rank", *given, status=1)
    assert not (tmp_path / "out").exists()


def test_the_old_name_still_works_and_says_that_it_is_deprecated(data: Path, tmp_path: Path) -> None:
    arguments = ("--model", WEIGHTS / "omniglot", "--data", data, "--out", tmp_path / "out", "--rank")
    result = run_leo("narrow", *arguments, 8, status=1)
    assert "`leo narrow` is deprecated" in result.stderr
    assert "use `leo low-rank`" in result.stderr
    assert "from 64, the length of a code, to 512" in result.stderr
    assert result.stdout == ""
    help_text = leo_output("--help")
    assert "low-rank" in help_text
    assert "narrow" not in help_text
