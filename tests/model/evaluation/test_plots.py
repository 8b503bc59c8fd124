"""Tests of the plots of a sweep."""

from pathlib import Path

import pytest
import torch

from model.data.omniglot import Drawings, load_drawings
from model.evaluation.plots import confused_pairs, draw_plots
from model.evaluation.sweep import Sweep
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


def test_pairs_are_ordered_by_their_share_of_confused_queries() -> None:
    confusion = torch.tensor([[90, 10, 0, 0], [5, 95, 0, 0], [0, 0, 70, 30], [0, 0, 0, 100]])
    co_occurrence = torch.full((4, 4), 100)
    assert confused_pairs(confusion, co_occurrence, 5) == [
        (2, 3, pytest.approx(30 / 200)),
        (0, 1, pytest.approx(15 / 200)),
    ]
    co_occurrence[2, 3] = co_occurrence[3, 2] = 2  # they were hardly ever in one task
    assert [pair[:2] for pair in confused_pairs(confusion, co_occurrence, 5)] == [(0, 1)]


def test_a_sweep_is_drawn_as_a_picture(drawings: Drawings, tmp_path: Path) -> None:
    sweep = Sweep(tiny(decoder_skip=True).eval(), drawings, episodes=30)
    for setting in sweep.make_settings([2, 5], [(1, 1), (1, 3)], 2, None):
        sweep.run(setting, [0, 5])
    draw_plots("tiny", sweep.last_steps, sweep.curves(), drawings, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "r.png").stat().st_size > 50_000
