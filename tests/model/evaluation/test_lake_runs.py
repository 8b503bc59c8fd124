"""Tests of Lake's one-shot runs."""

import zipfile
from pathlib import Path

import pytest

from model.data.omniglot import DataError
from model.evaluation.lake_runs import evaluate_runs
from model.leo import LatentEmbeddingOptimization
from tests.helpers.lake_runs import write_runs
from tests.helpers.models import WEIGHTS


@pytest.fixture(scope="module")
def leo() -> LatentEmbeddingOptimization:
    return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")


def test_runs_are_read_from_a_folder_or_a_zip(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "all_runs")
    row = evaluate_runs(leo, folder)
    assert (row.way, row.shot, row.query, row.episodes, row.inner_steps) == (10, 1, 1, 2, 5)
    assert row.accuracy >= 0.9
    for above in ("", "all_runs/"):
        with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
            for file in folder.rglob("*.*"):
                archive.write(file, above + file.relative_to(folder).as_posix())
        assert evaluate_runs(leo, tmp_path / "runs.zip") == row


def test_wrong_answers_lower_the_accuracy(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    folder = write_runs(tmp_path, runs=1)
    labels = folder / "run01" / "class_labels.txt"
    lines = [line.split() for line in labels.read_text().splitlines()]
    rotated = [f"{item} {lines[(n + 1) % 10][1]}" for n, (item, _) in enumerate(lines)]
    labels.write_text("\n".join(rotated))
    assert evaluate_runs(leo, folder).accuracy <= 0.1


def test_unusable_runs_are_refused_with_a_reason(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class_labels"):
        evaluate_runs(leo, tmp_path)
    with pytest.raises(DataError, match="no data at"):
        evaluate_runs(leo, tmp_path / "absent.zip")
    folder = write_runs(tmp_path / "runs", runs=1)
    (folder / "run01" / "test" / "item04.png").unlink()
    with pytest.raises(DataError, match=r"item04\.png, which is not there"):
        evaluate_runs(leo, folder)
    (folder / "run01" / "class_labels.txt").write_text("one two three\n")
    with pytest.raises(DataError, match="every line must read"):
        evaluate_runs(leo, folder)
