"""What a support set says of its own labels: by hand, and on real drawings."""

import numpy as np
import pytest

from model.baselines.method import Phi
from model.data.omniglot import Drawings
from model.evaluation.accuracy import extract
from model.evaluation.support_report import SAME, examine
from model.leo import LatentEmbeddingOptimization


def test_by_hand() -> None:
    """Two classes along two axes; example 2 of class 0 lies on class 1's."""
    features = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0.1], [0, 1, 0], [0.1, 1, 0]], dtype=np.float32)
    found = examine(features, np.array([0, 0, 0, 1, 1]))
    (suspect,) = found.suspects
    assert (suspect.index, suspect.looks_like) == (2, 1)
    assert suspect.margin < -0.5
    assert found.agreement == [pytest.approx(2 / 3), 1.0]
    assert found.nearest == [1, 0]
    pairs = {(twins.first, twins.second) for twins in found.near_duplicates}
    assert pairs == {(2, 3), (2, 4)}
    assert all(twins.similarity >= SAME for twins in found.near_duplicates)


def test_a_single_example_is_not_accused_of_standing_alone() -> None:
    features = np.eye(3, dtype=np.float32)
    found = examine(features, np.array([0, 1, 2]))
    assert found.agreement == [None, None, None]
    assert found.margin == pytest.approx([1, 1, 1])
    assert found.suspects == []
    assert found.near_duplicates == []


def test_two_single_examples_that_are_the_same_are_named() -> None:
    found = examine(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), np.array([0, 1, 2]))
    (twins,) = found.near_duplicates
    assert (twins.first, twins.second) == (0, 1)
    assert found.margin[0] == pytest.approx(0, abs=1e-6)
    assert found.nearest[:2] == [1, 0]


def test_length_and_blank_features_do_not_matter() -> None:
    features = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    labels = np.repeat(np.arange(3), 4)
    lengths = np.linspace(0.1, 9, 12, dtype=np.float32)[:, None]
    assert examine(features, labels).margin == pytest.approx(examine(features * lengths, labels).margin, abs=1e-5)
    assert np.isfinite(examine(np.zeros_like(features), labels).margin).all()


def test_a_planted_wrong_label_is_the_top_suspect(shipped: LatentEmbeddingOptimization, omniglot: Drawings) -> None:
    """40 tasks; `make bench-labels` takes 200 and writes them down."""
    from bench.labels import planted

    validation = omniglot.split("validation")
    some = validation.only(list(range(0, len(validation), 10)))  # of every alphabet
    features = extract(Phi(shipped), some, shipped.config.resolution, shipped.alpha.device).features.numpy()
    assert planted(features, tasks=40, seed=1).top >= 36
