"""Tests of the cards of models of drawings."""

import json
from pathlib import Path

import pytest

from model.data.omniglot import load_drawings
from model.evaluation.drawing_card import measure_drawing_figures, write_drawing_card
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS, tiny


@pytest.mark.parametrize("name", ["omniglot", "omniglot-105"])
def test_a_shipped_page_is_written_from_the_card_in_the_config(name: str, tmp_path: Path) -> None:
    config = json.loads((WEIGHTS / name / "config.json").read_text())
    write_drawing_card(tmp_path, config["name"], config["version"], config["card"])
    assert (tmp_path / "README.md").read_text() == (WEIGHTS / name / "README.md").read_text()


def test_settings_that_the_data_is_too_small_for_are_left_out(tmp_path: Path) -> None:
    drawings = load_drawings(write_omniglot(tmp_path, ["Alpha", "Beta"], 17))
    figures = measure_drawing_figures(tiny(decoder_skip=True).eval(), drawings, episodes=20)
    measured = [(row["way"], row["shot"], row["within"], row["inner_steps"]) for row in figures["rows"]]
    # 17 drawings are too few for 5 shots and 15 queries, and 10 characters for 20 ways within one alphabet.
    assert measured == [(5, 1, None, 0), (5, 1, None, 5), (20, 1, None, 0), (20, 1, None, 5)]
    assert [(row["way"], row["against"]) for row in figures["differences"]] == [(5, 0), (20, 0)]
