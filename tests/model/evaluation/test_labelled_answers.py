"""Reports on answers to labelled pictures, by hand and by simulation."""

import numpy as np
import pytest

from model.evaluation.labelled_answers import report_on_answers, wilson


def test_a_report_counts_what_was_answered() -> None:
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.9, 0.0], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7]], dtype=np.float32
    )
    report = report_on_answers(probabilities, np.array([0, 0, 1, 3, 1]))  # 3 is no class of the task
    assert report.answers.tolist() == [0, 1, 1, 0, 2]
    assert report.accuracy.value == 0.5
    assert report.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert report.wrong == report.worth_adding == [1, 3, 4]
    assert [(each.images, each.right, each.answered, each.taken_for) for each in report.classes] == [
        (2, 1, 2, 1),
        (2, 1, 2, 2),
        (0, 0, 1, None),
        (1, 0, 0, 0),
    ]
    assert sum(report.reliability.counts) == 4


def test_of_a_class_the_answers_furthest_from_right_are_worth_adding() -> None:
    own = np.array([0.4, 0.1, 0.3, 0.05, 0.2], dtype=np.float32)
    report = report_on_answers(np.stack([own, 1 - own], axis=1), np.array([0, 0, 0, 0, 0]))
    assert report.wrong == [0, 1, 2, 3, 4]
    assert report.worth_adding == [1, 3, 4]


@pytest.mark.parametrize(
    ("right", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (50, 100, 0.4038, 0.5962)]
)
def test_intervals_are_wilsons(right: int, of: int, low: float, high: float) -> None:
    share = wilson(right, of)
    assert (share.value, share.low, share.high) == (
        right / of,
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


def test_intervals_hold_the_true_share_about_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for right in rng.binomial(40, 0.9, 2000).tolist():
        share = wilson(right, 40)
        held += share.low <= 0.9 <= share.high
    assert 0.92 <= held / 2000 <= 0.98
