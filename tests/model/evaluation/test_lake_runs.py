import zipfile
from pathlib import Path

import pytest

from model.data.omniglot import DataError
from model.evaluation.lake_runs import evaluate_runs
from model.leo import LatentEmbeddingOptimization
from tests.conftest import WEIGHTS
from tests.helpers.drawn import CHARACTERS, canvas, shaky


def write_runs(folder: Path, runs: int = 2) -> Path:
    """One-shot runs of ten classes in Lake's layout; items are in another order than the classes."""
    names = list(CHARACTERS)
    for r in range(1, runs + 1):
        lines = []
        for part in ("training", "test"):
            (folder / f"run{r:02d}" / part).mkdir(parents=True)
        for n, name in enumerate(names, start=1):
            item = (n * 3) % 10 + 1
            drawn = {f"training/class{n:02d}": 10 * r, f"test/item{item:02d}": 10 * r + 1}
            for path, seed in drawn.items():
                picture = canvas(shaky(CHARACTERS[name], seed), 105, 3, ink=0, paper=1, mode="1")
                picture.save(folder / f"run{r:02d}" / f"{path}.png")
            lines.append(f"run{r:02d}/test/item{item:02d}.png run{r:02d}/training/class{n:02d}.png")
        (folder / f"run{r:02d}" / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def leo() -> LatentEmbeddingOptimization:
    return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")


def test_runs_from_a_folder_and_from_a_zip(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "all_runs")
    row = evaluate_runs(leo, folder)
    assert (row.way, row.shot, row.query, row.episodes, row.inner_steps) == (10, 1, 1, 2, 5)
    assert row.accuracy >= 0.9
    for above in ("", "all_runs/"):
        with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
            for file in folder.rglob("*.*"):
                archive.write(file, above + file.relative_to(folder).as_posix())
        assert evaluate_runs(leo, tmp_path / "runs.zip") == row


def test_wrong_answers_count_as_wrong(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    folder = write_runs(tmp_path, runs=1)
    labels = folder / "run01" / "class_labels.txt"
    lines = [line.split() for line in labels.read_text().splitlines()]
    rotated = [f"{item} {lines[(n + 1) % 10][1]}" for n, (item, _) in enumerate(lines)]
    labels.write_text("\n".join(rotated))
    assert evaluate_runs(leo, folder).accuracy <= 0.1


def test_what_is_wrong_with_runs_is_said(leo: LatentEmbeddingOptimization, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class_labels"):
        evaluate_runs(leo, tmp_path)
    with pytest.raises(DataError, match="neither a folder nor"):
        evaluate_runs(leo, tmp_path / "absent.zip")
    folder = write_runs(tmp_path / "runs", runs=1)
    (folder / "run01" / "test" / "item04.png").unlink()
    with pytest.raises(DataError, match=r"item04\.png, which is not there"):
        evaluate_runs(leo, folder)
    (folder / "run01" / "class_labels.txt").write_text("one two three\n")
    with pytest.raises(DataError, match="every line must read"):
        evaluate_runs(leo, folder)
