"""Tests of `leo classify`."""

import csv
import io
import json
from pathlib import Path

import httpx
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


def known_of(*arguments: object, status: int = 0) -> dict[str, float]:
    """What `leo classify` says each picture's `known` is, by the picture's name."""
    answers = json.loads(run_leo("classify", *arguments, "--format", "json", status=status).stdout)
    return {Path(answer["file"]).stem: answer["known"] for answer in answers}


def test_negatives_make_pictures_like_them_less_known(support: Path, queries: Path, tmp_path: Path) -> None:
    for name, seed in (("fork", 9), ("hook", 9)):
        (queries / f"{name}.png").write_bytes(png(name, seed))
    others = tmp_path / "others"
    others.mkdir()
    for seed in (1, 2):
        (others / f"fork{seed}.png").write_bytes(png("fork", seed))
    plain, sharpened = known_of(support, queries), known_of(support, queries, "--negatives", others)
    assert sharpened["fork"] < plain["fork"]
    assert {name for name in plain if sharpened[name] < plain[name] / 2} <= {"fork"}
    one_file = known_of(support, queries, "--negatives", others / "fork1.png")
    assert one_file["fork"] < plain["fork"]
    (support / "_negatives" / "deeper").mkdir(parents=True)
    for seed in (1, 2):
        (support / "_negatives" / "deeper" / f"fork{seed}.png").write_bytes(png("fork", seed))
    assert known_of(support, queries) == pytest.approx(sharpened)


def test_the_server_and_the_command_agree_on_negatives(
    client: httpx.Client, support: Path, queries: Path, tmp_path: Path
) -> None:
    (tmp_path / "fork.png").write_bytes(png("fork", 1))
    (queries / "fork.png").write_bytes(png("fork", 9))
    server = {"LEO_URL": str(client.base_url)}
    task_id = run_leo("tasks", "create", support, "--negatives", tmp_path / "fork.png", **server).stdout.strip()
    there = json.loads(run_leo("tasks", "predict", task_id, queries, "--format", "json", **server).stdout)
    here = known_of(support, queries, "--negatives", tmp_path / "fork.png", "--model", WEIGHTS / "omniglot")
    assert here == pytest.approx({Path(each["file"]).stem: each["known"] for each in there}, abs=0.02)


def test_negatives_that_cannot_be_read_cost_only_themselves(support: Path, queries: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "broken.png").write_bytes(b"no picture")
    (queries / "fork.png").write_bytes(png("fork", 9))
    plain = known_of(support, queries)
    assert known_of(support, queries, "--negatives", others, status=3) == pytest.approx(plain)
    (others / "fork.png").write_bytes(png("fork", 1))
    assert known_of(support, queries, "--negatives", others, status=3)["fork"] < plain["fork"]
    absent = run_leo("classify", support, queries, "--negatives", tmp_path / "absent", status=3)
    assert "absent" in absent.stderr


def test_a_folder_of_negatives_is_no_class(support: Path, queries: Path) -> None:
    for name in ("ex", "tee"):
        (support / name).rename(support / f"_{name}")
    (support / "_ex").rename(support / "_negatives")
    (support / "_tee").rename(support / ".hidden")
    refused = run_leo("classify", support, queries, status=1).stderr
    assert "at least 2 folders" in refused
    assert "negatives" in refused
