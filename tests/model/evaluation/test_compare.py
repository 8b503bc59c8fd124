from pathlib import Path

import pytest
import torch

from model.baselines.folder import all_methods, save_gradient_based
from model.baselines.gradient import KINDS, GradientBased
from model.baselines.method import Method
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import Setting, accuracies, mean_and_ci95, sample_tasks
from model.evaluation.compare import Comparison, peak_bytes
from tests.conftest import tiny
from tests.helpers.drawn import write_omniglot

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 6))


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    leo = tiny(decoder_skip=True, inner_lr=0.5).eval()
    for kind in KINDS:
        save_gradient_based(GradientBased(leo, kind), tmp_path)
    return all_methods(leo, tmp_path, {"l2": 0.01})


def test_all_methods_on_the_same_tasks_with_paired_differences(methods: list[Method], drawings: Drawings) -> None:
    comparison = Comparison(methods, drawings, 8, CPU)
    setting = Setting(5, (1, 1), 3, "alphabet")
    rows = comparison.run(setting, 20, seed=1)
    assert [row.method for row in rows] == [
        "LEO 5 steps",
        "LEO 0 steps",
        "cosine prototypes",
        "Euclidean prototypes",
        "logistic head",
        "MAML",
        "Meta-SGD",
        "ANIL",
    ]
    assert rows[0].difference == 0
    tasks = sample_tasks(comparison.sources[0], setting, 20, seed=1)
    leo = accuracies(methods[0], comparison.sources[0], tasks)
    for method, extracted, row in zip(methods, comparison.sources, rows, strict=True):
        mine = accuracies(method, extracted, tasks)
        assert row.accuracy == pytest.approx(float(mine.mean()))
        assert (row.difference, row.difference_ci95) == pytest.approx(mean_and_ci95(mine - leo))
        assert row.adapt is not None
        assert row.from_pictures is not None
        assert row.adapt.milliseconds is None
        assert 0 < row.adapt.peak_bytes <= row.from_pictures.peak_bytes


def test_pictures_pass_once_through_an_eye_that_methods_share(methods: list[Method], drawings: Drawings) -> None:
    sources = Comparison(methods, drawings, 8, CPU).sources
    assert all(extracted is sources[0] for extracted in sources[:5])
    assert sources[5].features.shape == (20, 6, 1, 8, 8)  # MAML sees the pictures
    assert sources[7].features.shape == (20, 6, 8)  # ANIL features, but of a phi of its own
    assert sources[7] is not sources[0]


def test_an_adaptation_is_timed_from_pictures_on(methods: list[Method], drawings: Drawings) -> None:
    comparison = Comparison(methods, drawings, 8, CPU)
    task = sample_tasks(comparison.sources[0], Setting(5, (1, 1), 1), 1)
    alone, from_pictures = comparison.costs(methods[2], task, repeats=3)
    assert alone.milliseconds is not None
    assert alone.milliseconds > 0
    # Five pictures of 8x8 after the first block's convolution are 5 x 8 x 64 floats: phi is in one, not the other.
    assert alone.peak_bytes < 5 * 8 * 64 * 4 <= from_pictures.peak_bytes


def test_peak_memory_is_what_was_held_at_once() -> None:
    def work() -> None:
        first = torch.zeros(1_000_000)
        del first
        second = torch.zeros(500_000)
        third = torch.zeros(700_000)
        del second, third

    kept = torch.zeros(3_000_000)  # held before, and so not counted
    assert peak_bytes(work, CPU) == 1_200_000 * 4
    del kept
