"""Tests of the choice of the logistic head's L2."""

from pathlib import Path

from model.data.omniglot import load_drawings
from model.training.l2_search import DRAWING_STRENGTHS, accuracy_by_l2_on_drawings, best_l2
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


def test_every_strength_is_measured_and_matters(tmp_path: Path) -> None:
    drawings = load_drawings(write_omniglot(tmp_path, ["Alpha"], 10))
    found = accuracy_by_l2_on_drawings(tiny().eval(), drawings, episodes=10)
    assert tuple(found) == DRAWING_STRENGTHS
    assert len(set(found.values())) > 1
    assert found == accuracy_by_l2_on_drawings(tiny().eval(), drawings, episodes=10)


def test_the_strongest_of_the_most_accurate_is_best() -> None:
    assert best_l2({0.1: 0.5, 0.2: 0.7, 0.3: 0.7, 0.4: 0.6}) == 0.3
