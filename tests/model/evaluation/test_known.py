"""Tests of the calibration of `known`."""

import numpy as np
import pytest
import torch

from model.baselines.leo import LeoMethod
from model.data.omniglot import Drawings, load_drawings
from model.data.sources import DataError
from model.evaluation.accuracy import Setting
from model.evaluation.diagnostics import diagnose
from model.evaluation.extracted_features import extract_leo_features
from model.evaluation.known import (
    BACKGROUND_CLASSES,
    TaskScores,
    calibrate_known,
    calibrate_on,
    fit_shift,
    known,
    shifts,
)
from model.leo import LatentEmbeddingOptimization
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS, tiny


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    names = [f"Alphabet {letter}" for letter in "abcdefg"]
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), names, 12))


def test_as_many_own_pictures_are_rejected_as_asked_for(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    training, validation = (extract_leo_features(leo, drawings.split(name)) for name in ("train", "validation"))
    leo.background = calibrate_known(leo, [training], [validation])
    assert len(leo.background.heads) <= BACKGROUND_CLASSES
    assert (np.diff(leo.background.quantiles, axis=1) >= 0).all()
    for shot in (1, 3):
        found = diagnose(LeoMethod(leo), validation, Setting(5, (shot, shot), 5), 300, seed=9)
        assert found.rejected is not None
        own, foreign = found.rejected
        assert own == pytest.approx(0.05, abs=0.04)
        assert foreign >= own
        assert found.row.foreign_accepted == found.foreign_accepted["known"]


def test_tasks_whose_support_says_that_they_score_low_lose_few_more_than_others() -> None:
    chance = np.random.default_rng(0)
    statistic = chance.uniform(0.2, 0.9, 400)
    scores = [
        TaskScores((8 * one + chance.normal(size=200)).astype(np.float32), float(one), None, 5) for one in statistic
    ]
    row = fit_shift(scores, [each.cohesion for each in scores])
    assert row == pytest.approx([8, statistic.mean(), statistic.min(), statistic.max()], abs=0.2)
    shifted = np.stack([each.less(each.cohesion, row).of_queries for each in scores])
    lost = (shifted < np.quantile(shifted, 0.05)).mean(axis=1)
    assert lost.max() < 0.15  # without the shift, all of some tasks
    assert fit_shift(scores, [each.own_score for each in scores]) == [0, 0, 0, 0]
    np.testing.assert_array_equal(scores[0].less(None, row).of_queries, scores[0].of_queries)


def test_tasks_of_few_classes_and_of_many_count_the_same_in_the_fit() -> None:
    few = [TaskScores(np.full(20, 2 * n, dtype=np.float32), None, float(n), 2) for n in (0, 1)] * 50
    many = [TaskScores(np.full(20, 6 * n, dtype=np.float32), None, float(n), 20) for n in (0, 1)] * 5
    slope, usual, least, largest = fit_shift([*few, *many], [each.own_score for each in [*few, *many]])
    assert (slope, usual, least, largest) == pytest.approx((4, 0.5, 0, 1))


def test_drawings_shift_by_their_cohesion_and_by_the_score_of_their_own_examples() -> None:
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    background = leo.background
    assert background is not None
    assert background.by_cohesion is not None
    assert background.by_own_score is not None
    for rows in (background.by_cohesion, background.by_own_score):
        assert rows[0, 0] == 0  # single examples
        assert (rows[1:, 0] > 0).all()
    assert not background.takes_own_score(1)
    assert background.takes_own_score(2)
    _, usual, least, largest = background.by_own_score[3].tolist()
    by_score = [background.shift(5, 0.8, score) for score in (least, usual, largest)]
    assert by_score == sorted(by_score)
    assert background.shift(5, 0.8) == pytest.approx(by_score[1])  # a task from before the score was kept
    assert background.shift(1, None, 0.0) == 0


def test_photos_shift_by_the_score_of_their_own_examples() -> None:
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "photos-lite0")
    assert leo.background is not None
    assert leo.background.by_cohesion is None
    assert leo.background.by_own_score is not None
    assert (leo.background.by_own_score[:, 0] > 0).all()
    generator = torch.Generator().manual_seed(0)
    support = torch.nn.functional.normalize(torch.randn(2, 4, leo.config.feature_dim, generator=generator), dim=-1)
    heads = 10 * torch.nn.functional.normalize(
        torch.randn(2, 3, leo.config.feature_dim + 1, generator=generator), dim=-1
    )
    # The first task has two examples of each of two classes; the second one example each of three, and padding.
    membership = torch.zeros(2, 4, 3)
    membership[0, [0, 1, 2, 3], [0, 0, 1, 1]] = 1
    membership[1, [0, 1, 2], [0, 1, 2]] = 1
    found = shifts(leo.background, support, heads, membership, [2.0, 1.0])
    for task, (labels, shots) in enumerate((([0, 0, 1, 1], 2.0), ([0, 1, 2], 1.0))):
        features, head = support[task, : len(labels)].numpy(), heads[task].numpy()
        logits = [float(x @ head[n, :-1] + head[n, -1]) for x, n in zip(features, labels, strict=True)]
        score = leo.background.score(features, np.array(logits, dtype=np.float32)).mean()
        assert found[task] == pytest.approx(leo.background.shift(shots, None, float(score)), abs=1e-4)


def test_single_examples_shift_nothing(drawings: Drawings) -> None:
    background = calibrate_on(tiny(decoder_skip=True).eval(), drawings)
    assert background.shots[0] == 1
    for rows in (background.by_cohesion, background.by_own_score):
        assert rows is not None
        assert rows[0, 0] == 0
        np.testing.assert_array_equal(rows[0, 1:], rows[1, 1:])


def test_each_number_of_shots_is_measured_apart(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    training, validation = (extract_leo_features(leo, drawings.split(name)) for name in ("train", "validation"))
    every = calibrate_known(leo, [training], [validation], tasks=20)
    some = calibrate_known(leo, [training], [validation], tasks=20, shots=(1, 3))
    assert some.shots.tolist() == [1, 3]
    np.testing.assert_array_equal(some.quantiles, every.quantiles[[0, 2]])


def test_calibrating_twice_gives_the_same(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    one, other = calibrate_on(leo, drawings), calibrate_on(leo, drawings)
    np.testing.assert_array_equal(one.heads, other.heads)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_too_little_data_is_refused(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_leo_features(leo, drawings.first(1))
    with pytest.raises(DataError):
        calibrate_known(leo, [extracted], [extracted])


def test_the_evaluation_sees_what_the_service_answers() -> None:
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    assert leo.background is not None
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(2, 6, leo.config.feature_dim, generator=generator), dim=-1)
    logits = 20 * torch.rand(2, 6, 5, generator=generator)
    found = known(leo.background, features, logits, [1.0, 5.0], [0.0, leo.background.shift(5, 0.4)])
    for task, (shots, cohesion) in enumerate(((1, None), (5, 0.4))):
        scores = leo.background.score(features[task].numpy(), logits[task].amax(dim=-1).numpy())
        scores = scores - leo.background.shift(shots, cohesion)
        expected = leo.background.known(scores, np.full(6, shots, dtype=np.float32))
        np.testing.assert_allclose(found[task].numpy(), expected)
