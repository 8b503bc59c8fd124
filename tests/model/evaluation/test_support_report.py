"""Tests of reports on support sets: by hand, and on real drawings."""

import numpy as np
import pytest

from model.baselines.extractors import LeoExtractor
from model.data.omniglot import Drawings
from model.evaluation.extracted_features import extract
from model.evaluation.support_report import DUPLICATE_COSINE, MAX_REPORTED, report_on_support
from model.leo import LatentEmbeddingOptimization


def test_a_report_by_hand() -> None:
    # Two classes along two axes. Example 2 is labelled as class 0 but lies on the axis of class 1.
    features = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0.1], [0, 1, 0], [0.1, 1, 0]], dtype=np.float32)
    report = report_on_support(features, np.array([0, 0, 0, 1, 1]))
    (suspect,) = report.suspects
    assert (suspect.index, suspect.looks_like) == (2, 1)
    assert suspect.margin < -0.5
    assert report.agreement == [pytest.approx(2 / 3), 1.0]
    assert report.nearest == [1, 0]
    pairs = {(pair.first, pair.second) for pair in report.near_duplicates}
    assert pairs == {(2, 3), (2, 4)}
    assert all(pair.similarity >= DUPLICATE_COSINE for pair in report.near_duplicates)


def test_cohesion_by_hand() -> None:
    # Cosines to the rest of the own class: 1 and 1, then 0.6 and 0.6; the only example of class 2 has no others.
    features = np.array([[1, 0], [2, 0], [0, 1], [0.8, 0.6], [1, 1]], dtype=np.float32)
    report = report_on_support(features, np.array([0, 0, 1, 1, 2]))
    assert report.cohesion == pytest.approx(0.8)
    alone = report_on_support(features[[0, 2]], np.array([0, 1]))
    assert alone.cohesion is None


def test_the_only_example_of_a_class_is_no_suspect() -> None:
    features = np.eye(3, dtype=np.float32)
    report = report_on_support(features, np.array([0, 1, 2]))
    assert report.agreement == [None, None, None]
    assert report.margin == pytest.approx([1, 1, 1])
    assert report.suspects == []
    assert report.near_duplicates == []


def test_equal_examples_of_two_classes_are_near_duplicates() -> None:
    report = report_on_support(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), np.array([0, 1, 2]))
    (pair,) = report.near_duplicates
    assert (pair.first, pair.second) == (0, 1)
    assert report.margin[0] == pytest.approx(0, abs=1e-6)
    assert report.nearest[:2] == [1, 0]


def test_the_length_of_features_does_not_matter_and_zeros_are_allowed() -> None:
    features = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    labels = np.repeat(np.arange(3), 4)
    lengths = np.linspace(0.1, 9, 12, dtype=np.float32)[:, None]
    assert report_on_support(features, labels).margin == pytest.approx(
        report_on_support(features * lengths, labels).margin, abs=1e-5
    )
    assert np.isfinite(report_on_support(np.zeros_like(features), labels).margin).all()


def test_a_wrong_label_is_the_first_suspect(shipped: LatentEmbeddingOptimization, omniglot: Drawings) -> None:
    """Measured on 40 tasks; `make bench-labels` measures 200."""
    from bench.labels import planted

    validation = omniglot.split("validation")
    tenth = validation.subset(list(range(0, len(validation), 10)))  # of every alphabet
    features = extract(LeoExtractor(shipped), tenth, shipped.config.resolution, shipped.alpha.device).features.numpy()
    assert planted(features, tasks=40, seed=1).top >= 36


def test_only_the_most_similar_of_many_near_duplicates_are_reported() -> None:
    # 400 pairs of equal pictures, and among them one class that is only alike.
    features = np.zeros((41, 3), dtype=np.float32)
    features[:, 0], features[40, 1] = 1, 0.1
    labels = np.array([*np.arange(40) % 2, 2])
    found = report_on_support(features, labels).near_duplicates
    assert len(found) == MAX_REPORTED
    assert [(pair.first, pair.second) for pair in found] == [(0, 2 * n + 1) for n in range(MAX_REPORTED)]
    assert [pair.similarity for pair in found] == pytest.approx([1] * MAX_REPORTED)
    few = report_on_support(features[37:], labels[37:]).near_duplicates
    assert [(pair.first, pair.second) for pair in few] == [(0, 1), (1, 2), (0, 3), (1, 3), (2, 3)]
