"""Tests of `leo classify`, `leo compare` and `leo card` on photos, with the shipped model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.command import run_leo
from tests.helpers.models import WEIGHTS
from tests.helpers.photographed import jpeg, product, write_photos

MODEL = WEIGHTS / "photos-lite0"
PAIR = ("orange", "carton")


def test_classify_products_by_two_photos_each(tmp_path: Path) -> None:
    support = tmp_path / "support"
    for name in PAIR:
        (support / name).mkdir(parents=True)
        for seed in (1, 2):
            (support / name / f"{seed}.jpg").write_bytes(jpeg(product(name, seed)))
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(product(name, 7, (1200, 900))))
    queries = [tmp_path / f"{name}.jpg" for name in PAIR]
    answers = json.loads(run_leo("classify", support, *queries, "--format", "json", "--model", MODEL).stdout)
    assert {Path(answer["file"]).stem: answer["label"] for answer in answers} == {name: name for name in PAIR}


def test_compare_and_card_measure_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # features are kept under the working directory
    shop = write_photos(tmp_path / "shop", groups=5, pictures=4)
    run_leo("compare", "--model", MODEL, "--data", shop, "--split", "all", "--way", 3, "--shot", "1", "--query", 2,
        "--episodes", 20, "--repeats", 0, "--out", tmp_path / "compared.json")  # fmt: skip
    rows = json.loads((tmp_path / "compared.json").read_text())["rows"]
    assert [row["method"] for row in rows] == [
        "LEO 5 steps",
        "LEO 0 steps",
        "LEO's features, prototypes",
        "LEO's features, logistic head",
        "cosine prototypes",
        "cosine prototypes, centred",
        "nearest neighbour",
        "logistic head",
        "logistic head, centred",
    ]
    assert rows[0]["accuracy"] > 0.5  # three ways; the photos are drawn by code, and all groups take part
    shutil.copytree(MODEL, tmp_path / "model")
    run_leo("card", "--model", tmp_path / "model", "--data", shop, "--episodes", 20, "--write")
    measured = json.loads((tmp_path / "model" / "config.json").read_text())["card"]["validation"]
    assert [(row["way"], row["shot"]) for row in measured["sources"][0]["rows"]] == [(2, 1)]
    classes = len(measured["sources"][0]["classes"])
    assert f"**shop**, {classes} classes" in (tmp_path / "model" / "README.md").read_text()
