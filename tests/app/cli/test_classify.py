"""Tests of `leo classify`."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.helpers.command import run_leo
from tests.helpers.drawn import png
from tests.helpers.models import WEIGHTS


@pytest.mark.parametrize("model", ["omniglot", "omniglot-105"])
def test_photos_by_a_folder_of_drawings(support: Path, queries: Path, model: str) -> None:
    result = run_leo("classify", support, queries, "--format", "json", "--top", 2, "--model", WEIGHTS / model)
    answers = json.loads(result.stdout)
    assert [(answer["label"], Path(answer["file"]).stem) for answer in answers] == [
        (name, name) for name in ("ex", "ring", "tee")
    ]
    assert all(len(answer["top"]) == 2 and not answer["unknown"] for answer in answers)


def test_csv_and_table(support: Path, queries: Path) -> None:
    result = run_leo("classify", support, queries, "--format", "csv", "--threshold", 1)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["label"] for row in rows] == ["ex", "ring", "tee"]
    assert set(rows[0]) == {"file", "label", "confidence", "unknown", "known"}
    table = run_leo("classify", support, queries / "ring.jpg", "--top", 3).stdout
    assert "ring" in table
    assert "next" in table


def test_a_wrong_label_is_a_warning(support: Path, queries: Path) -> None:
    (support / "ex" / "wrong.png").write_bytes(png("ring", 5))
    result = run_leo("classify", support, queries)
    assert "worth a look" in result.stderr
    assert "wrong.png" in result.stderr
    assert "worth a look" not in result.stdout


def test_errors_are_one_line(support: Path, queries: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ((tmp_path / "absent", queries), "no data at"),
        ((queries, queries), "put the pictures of each class in a folder"),
        ((support, tmp_path / "absent.png"), "absent.png: No such file"),
        ((support, tmp_path / "empty"), "no pictures"),
        ((support, tmp_path / "broken.png"), "cannot use"),
    ]:
        lines = run_leo("classify", *arguments, status=1).stderr.splitlines()
        (line,) = [line for line in lines if line.startswith("error: ")]
        assert message in line
