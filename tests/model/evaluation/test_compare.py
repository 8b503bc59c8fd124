"""Tests of the comparison of methods."""

from pathlib import Path

import pytest
import torch

from model.baselines.method import Method
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import Setting, accuracy_per_task, mean_and_ci95, sample_tasks
from model.evaluation.compare import Comparison, measure_peak_bytes
from tests.helpers.baselines import methods_of_a_tiny_model
from tests.helpers.drawn import write_omniglot

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 6))


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    return methods_of_a_tiny_model(tmp_path)


def test_methods_are_measured_on_the_same_tasks_with_paired_differences(
    methods: list[Method], drawings: Drawings
) -> None:
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
    tasks = sample_tasks(comparison.extracted[0], setting, 20, seed=1)
    leo = accuracy_per_task(methods[0], comparison.extracted[0], tasks)
    for method, extracted, row in zip(methods, comparison.extracted, rows, strict=True):
        accuracies = accuracy_per_task(method, extracted, tasks)
        assert row.accuracy == pytest.approx(float(accuracies.mean()))
        assert (row.difference, row.difference_ci95) == pytest.approx(mean_and_ci95(accuracies - leo))
        assert row.adapt is not None
        assert row.from_pictures is not None
        assert row.adapt.milliseconds is None
        assert 0 < row.adapt.peak_bytes <= row.from_pictures.peak_bytes


def test_methods_with_the_same_extractor_share_its_features(methods: list[Method], drawings: Drawings) -> None:
    extracted_features = Comparison(methods, drawings, 8, CPU).extracted
    assert all(extracted is extracted_features[0] for extracted in extracted_features[:5])
    assert extracted_features[5].features.shape == (20, 6, 1, 8, 8)  # MAML takes the images themselves
    assert extracted_features[7].features.shape == (20, 6, 8)  # ANIL takes features, but of its own copy of phi
    assert extracted_features[7] is not extracted_features[0]


def test_the_cost_from_pictures_includes_the_extraction_of_features(methods: list[Method], drawings: Drawings) -> None:
    comparison = Comparison(methods, drawings, 8, CPU)
    task = sample_tasks(comparison.extracted[0], Setting(5, (1, 1), 1), 1)
    adapt, from_pictures = comparison.measure_costs(methods[2], task, repeats=3)
    assert adapt.milliseconds is not None
    assert adapt.milliseconds > 0
    # Five pictures of 8x8 after the first block's convolution are 5 x 8 x 64 floats: only the second includes phi.
    assert adapt.peak_bytes < 5 * 8 * 64 * 4 <= from_pictures.peak_bytes


def test_peak_memory_is_the_most_that_is_held_at_once() -> None:
    def work() -> None:
        first = torch.zeros(1_000_000)
        del first
        second = torch.zeros(500_000)
        third = torch.zeros(700_000)
        del second, third

    kept = torch.zeros(3_000_000)  # held before, so not counted
    assert measure_peak_bytes(work, CPU) == 1_200_000 * 4
    del kept
