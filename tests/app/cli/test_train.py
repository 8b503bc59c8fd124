"""Tests of `leo train`."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model.training import presets
from tests.helpers.command import leo_output
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky, write_omniglot
from tests.helpers.photographed import PRODUCTS, jpeg, product
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


def write_classes(folder: Path, classes: int, drawings: int) -> Path:
    """Write drawings as JPEG, straight in a folder for each class, as people have them."""
    for name in list(CHARACTERS)[:classes]:
        (folder / name).mkdir(parents=True)
        for seed in range(drawings):
            picture = canvas(shaky(CHARACTERS[name], seed), pen=12)
            (folder / name / f"{seed}.jpg").write_bytes(encoded(picture, "JPEG"))
    return folder


@pytest.mark.parametrize(
    ("classes", "drawings", "held_back"), [(4, 2, ["signs/ell", "signs/tee"]), (10, 6, ["signs/ell", "signs/ring"])]
)
def test_any_folder_of_classes_trains_a_model_of_drawings(
    classes: int, drawings: int, held_back: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "small", run_config(ways=(5, 20), shots=(1, 5), query=5))
    data, out = write_classes(tmp_path / "signs", classes, drawings), tmp_path / "run"
    output = leo_output("train", "--data", data, "--out", out, "--preset", "small", "--device", "cpu")
    assert "2 of them held back for validation" in output
    card = json.loads((out / "model" / "config.json").read_text())["card"]
    assert card["training_classes"] == classes - 2
    assert card["validation_classes"] == held_back
    assert (out / "model" / "README.md").exists()
    leo_output("evaluate", "--data", data, "--split", "validation", "--model", out / "model", "--way", 2, "--query", 1,
        "--episodes", 5)  # fmt: skip


def test_a_card_names_the_models_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_classes(tmp_path / "signs", 4, 2)
    common = ("train", "--data", data, "--preset", "small", "--device", "cpu")
    monkeypatch.setitem(presets.PRESETS, "small", run_config(pretrain_steps=2, episode_steps=1, view_steps=1))
    assert "then 1 steps of 96 drawings in 9 views" in leo_output(*common, "--out", tmp_path / "first")
    teacher = tmp_path / "first" / "model"
    monkeypatch.setitem(presets.PRESETS, "small", run_config(pretrain_steps=2, episode_steps=1, distill=1.0))
    leo_output(*common, "--out", tmp_path / "second", "--teacher", teacher)
    version = json.loads((teacher / "config.json").read_text())["version"]
    taught = tmp_path / "second" / "model"
    assert json.loads((taught / "config.json").read_text())["card"]["teacher"] == {"name": "small", "version": version}
    assert f"- **Teacher**: `small`, version `{version}`" in (taught / "README.md").read_text()


def test_any_folder_of_classes_trains_a_model_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # features are kept under the working directory
    for name in PRODUCTS:
        for seed in range(3):
            (tmp_path / "shop" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "shop" / name / f"{seed}.jpg").write_bytes(jpeg(product(name, seed)))
    asked = ("--data", "shop", "--out", "run", "--preset", "photos-lite0", "--most", 2, "--device", "cpu")
    output = leo_output("train", *asked)
    assert "2 of them held back for validation" in output
    features = [load_file(path)["features"] for path in (tmp_path / ".cache" / "photos").iterdir()]
    assert [len(each) for each in features] == [2] * 2 * len(PRODUCTS)  # as the photos are, and their other views
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    assert card["validation_classes"] == ["brick", "orange"]


def test_too_few_classes_to_hold_some_back_is_one_line(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "signs", 3, 2)
    for preset in ("omniglot", "photos-lite0"):
        output = leo_output("train", "--data", data, "--out", tmp_path / "run", "--preset", preset, status=1)
        assert "error: 3 classes are too few to hold some back for validation: give at least 4" in output


def test_most_is_for_photos(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "signs", 4, 2)
    output = leo_output("train", "--data", data, "--out", tmp_path / "run", "--most", 2, status=1)
    assert "error: --most is for photos" in output
