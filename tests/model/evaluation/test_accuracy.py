"""Tests of accuracy over random tasks."""

import math

import pytest
import torch

from model.baselines.leo import LeoMethod
from model.data.episodes import Episodes
from model.data.omniglot import DataError, Drawings, load_drawings
from model.evaluation.accuracy import (
    Setting,
    accuracy_per_task,
    classify_tasks,
    feasible_settings,
    format_shots,
    mean_and_ci95,
    measure_accuracy,
    sample_tasks,
)
from model.evaluation.extracted_features import ExtractedFeatures, extract_leo_features
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


def test_the_interval_is_that_of_the_mean() -> None:
    values = torch.tensor([0.0, 1.0] * 50, dtype=torch.double)
    mean, ci95 = mean_and_ci95(values)
    assert mean == 0.5
    assert ci95 == pytest.approx(1.96 * math.sqrt(0.25 * 100 / 99) / math.sqrt(100))


@pytest.mark.parametrize("setting", [Setting(4, (1, 1), 3), Setting(4, (1, 3), 2), Setting(6, (2, 2), 2, "alphabet")])
def test_tasks_classified_a_few_at_a_time_have_the_same_accuracy(
    drawings: Drawings, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_leo_features(leo, drawings)
    tasks = sample_tasks(extracted, setting, 130, seed=3)
    together = accuracy_per_task(LeoMethod(leo), extracted, tasks)
    assert len(together) == 130
    monkeypatch.setattr("model.evaluation.accuracy.NUMBERS_AT_ONCE", 7 * setting.way * tasks.drawings.shape[2] * 8)
    parts = list(classify_tasks(LeoMethod(leo), extracted, tasks))
    assert len(parts) == math.ceil(130 / 7)
    torch.testing.assert_close(accuracy_per_task(LeoMethod(leo), extracted, tasks), together)


def test_all_classes_of_a_task_within_one_alphabet_are_of_one_alphabet(drawings: Drawings) -> None:
    extracted = extract_leo_features(tiny().eval(), drawings)
    alphabets = extracted.groups[sample_tasks(extracted, Setting(6, (1, 1), 2, "alphabet"), 50).classes]
    assert (alphabets == alphabets[:, :1]).all()
    assert alphabets.unique().tolist() == [0, 1]
    anywhere = extracted.groups[sample_tasks(extracted, Setting(6, (1, 1), 2), 50).classes]
    assert not (anywhere == anywhere[:, :1]).all()


def test_the_content_of_padding_does_not_change_logits(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_leo_features(leo, drawings)
    tasks = sample_tasks(extracted, Setting(4, (1, 3), 2), 20)
    assert tasks.shots is not None
    other = tasks.drawings.clone()
    padding = torch.arange(3) >= tasks.shots.unsqueeze(-1)
    other[:, :, :3][padding] = 0
    changed = Episodes(tasks.classes, other, tasks.shot, tasks.shots)
    for one, two in zip(
        classify_tasks(LeoMethod(leo), extracted, tasks),
        classify_tasks(LeoMethod(leo), extracted, changed),
        strict=True,
    ):
        torch.testing.assert_close(one.logits, two.logits)


@pytest.mark.parametrize(("way", "shot"), [(2, 1), (2, 3), (5, 1), (5, 3)])
def test_accuracy_is_above_chance_and_the_same_for_the_same_seed(drawings: Drawings, way: int, shot: int) -> None:
    leo = tiny(decoder_skip=True).eval()
    features = extract_leo_features(leo, drawings)
    row = measure_accuracy(leo, features, way, shot, 2, 150, seed=7)
    assert (row.way, row.shot, row.query, row.episodes, row.inner_steps) == (way, shot, 2, 150, 5)
    assert 1 / way < row.accuracy <= 1
    assert row == measure_accuracy(leo, features, way, shot, 2, 150, seed=7)
    assert row != measure_accuracy(leo, features, way, shot, 2, 150, seed=8)
    assert measure_accuracy(leo, features, way, shot, 2, 150, seed=7, inner_steps=0).inner_steps == 0


def test_settings_that_the_data_is_too_small_for_are_left_out(drawings: Drawings) -> None:
    features = extract_leo_features(tiny().eval(), drawings)
    possible, too_many_ways, too_many_shots = Setting(5, (1, 1), 3), Setting(21, (1, 1), 3), Setting(5, (8, 8), 3)
    assert feasible_settings(features, [too_many_ways, possible, too_many_shots]) == [possible]
    few = ExtractedFeatures(features.features[:3, :2], torch.tensor([2, 2, 1]), features.groups[:3])
    assert feasible_settings(few, [too_many_ways, too_many_shots]) == [Setting(2, (1, 1), 1)]
    with pytest.raises(DataError, match="at least 2 classes need 2 images"):
        feasible_settings(ExtractedFeatures(few.features, torch.tensor([2, 1, 1]), few.groups), [possible])
    with pytest.raises(DataError, match="no setting"):
        feasible_settings(features, [])


def test_shots_are_shown_as_a_number_or_a_range() -> None:
    assert format_shots((5, 5)) == 5
    assert format_shots((1, 5)) == "1-5"
