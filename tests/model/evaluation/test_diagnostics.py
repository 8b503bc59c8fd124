"""Tests of diagnostics: calibration, confusions and unknown classes."""

import pytest
import torch

from model.baselines.leo import LeoMethod
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import Setting, measure_accuracy
from model.evaluation.diagnostics import diagnose
from model.evaluation.extracted_features import extract_leo_features
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


def test_the_accuracy_is_that_of_measure_accuracy(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_leo_features(leo, drawings)
    row = diagnose(LeoMethod(leo), extracted, Setting(5, (2, 2), 3), 120, seed=4).row
    plain = measure_accuracy(leo, extracted, 5, 2, 3, 120, seed=4)
    assert (row.accuracy, row.ci95) == (plain.accuracy, plain.ci95)
    assert row.ece is not None
    assert row.auroc is not None


def test_every_query_is_counted_once_among_the_confusions(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    found = diagnose(LeoMethod(leo), extract_leo_features(leo, drawings), Setting(5, (1, 1), 3), 60)
    assert int(found.confusion.sum()) == 60 * 5 * 3
    assert int(found.confusion.diagonal().sum()) == round(float(found.accuracies.sum()) * 15)
    assert int(found.co_occurrence.sum()) == 60 * 5 * 5 * 3
    assert torch.equal(found.co_occurrence, found.co_occurrence.T)
    assert (found.confusion <= found.co_occurrence).all()  # a query can only be taken for a class of its task
    assert torch.equal(found.confusion.sum(dim=1), found.co_occurrence.diagonal())


def test_unknown_classes_score_lower_and_are_left_out_if_none_are_left(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_leo_features(leo, drawings)
    assert diagnose(LeoMethod(leo), extracted, Setting(5, (1, 1), 3), 60).aurocs["mean_cosine"][0] > 0.5
    all_classes = diagnose(LeoMethod(leo), extracted, Setting(20, (1, 1), 3), 20)
    assert all_classes.aurocs == {}
    assert all_classes.row.auroc is None


def test_the_configs_temperature_changes_confidences_but_not_accuracy(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted, setting = extract_leo_features(leo, drawings), Setting(5, (1, 1), 3)
    plain = diagnose(LeoMethod(leo), extracted, setting, 40)
    leo.config = leo.config.model_copy(update={"temperature": 100.0})
    flat = diagnose(LeoMethod(leo), extracted, setting, 40)
    assert torch.equal(plain.accuracies, flat.accuracies)
    assert flat.reliability.counts[3] == 40 * 15  # all near 1/5
