"""Tests of the cards of models of photos."""

import json
from pathlib import Path

import pytest

from model.evaluation.photo_card import best_baseline, write_photo_card
from tests.helpers.models import WEIGHTS


@pytest.mark.parametrize("name", ["photos-lite0", "photos-large"])
def test_the_shipped_page_is_written_from_the_card_in_the_config(name: str, tmp_path: Path) -> None:
    folder = WEIGHTS / name
    config = json.loads((folder / "config.json").read_text())
    write_photo_card(tmp_path, config["name"], config["version"], config["card"])
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()


def test_the_best_baseline_neither_is_leo_nor_uses_its_features() -> None:
    accuracies = {
        "LEO 3 steps": 0.95,
        "LEO's features, prototypes": 0.94,
        "cosine prototypes": 0.91,
        "nearest neighbour": 0.93,
        "logistic head": 0.92,
    }
    row = {"methods": [{"method": name, "accuracy": accuracy} for name, accuracy in accuracies.items()]}
    assert best_baseline(row)["method"] == "nearest neighbour"
