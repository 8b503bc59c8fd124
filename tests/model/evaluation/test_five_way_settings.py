"""Tests of the five-way tasks that data has enough photos for."""

import pytest
import torch

from model.data.omniglot import DataError
from model.evaluation.accuracy import Setting, five_way_settings
from model.evaluation.extracted_features import ExtractedFeatures


def features_of(*counts: int) -> ExtractedFeatures:
    """Return features of classes with so many photos."""
    return ExtractedFeatures(
        torch.zeros(len(counts), max(counts), 3), torch.tensor(counts), torch.zeros(len(counts), dtype=torch.long)
    )


def test_a_large_data_set_has_five_way_tasks_with_ten_queries() -> None:
    settings = five_way_settings(features_of(*[40] * 8), (1, 5, 10))
    assert settings == [Setting(5, (shot, shot), 10) for shot in (1, 5, 10)]


def test_a_small_data_set_has_fewer_ways_shots_and_queries() -> None:
    # Three classes; all of them have at least 7 photos: 1 shot leaves 6 queries, 5 shots leave 2, 10 are too many.
    settings = five_way_settings(features_of(9, 7, 8), (1, 5, 10))
    assert settings == [Setting(3, (1, 1), 6), Setting(3, (5, 5), 2)]


def test_more_queries_are_asked_where_there_are_enough_photos() -> None:
    settings = five_way_settings(features_of(*[22] * 6), (1, 5, 10), query=15)
    assert settings == [Setting(5, (1, 1), 15), Setting(5, (5, 5), 15), Setting(5, (10, 10), 12)]


def test_too_small_a_data_set_is_refused() -> None:
    with pytest.raises(DataError):
        five_way_settings(features_of(1, 1), (1, 5))
