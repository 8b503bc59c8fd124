import math
from pathlib import Path

import pytest
import torch

from model.baselines.latent import Leo
from model.data.episodes import Episodes
from model.data.omniglot import DataError, Drawings, load_drawings
from model.evaluation.accuracy import (
    Setting,
    accuracies,
    answer_tasks,
    evaluate,
    evaluate_many,
    extract_features,
    mean_and_ci95,
    sample_tasks,
)
from tests.conftest import tiny
from tests.helpers.drawn import write_omniglot


def test_the_interval_is_of_the_mean() -> None:
    values = torch.tensor([0.0, 1.0] * 50, dtype=torch.double)
    mean, ci95 = mean_and_ci95(values)
    assert mean == 0.5
    assert ci95 == pytest.approx(1.96 * math.sqrt(0.25 * 100 / 99) / math.sqrt(100))


def test_rows_are_seeded_and_name_their_setting(tmp_path: Path) -> None:
    leo = tiny(decoder_skip=True).eval()
    features = extract_features(leo, load_drawings(write_omniglot(tmp_path, ["Alpha"], 6)))
    rows = list(evaluate_many(leo, features, [2, 5], [1, 3], query=2, episodes=150, seed=7))
    assert [(row.way, row.shot) for row in rows] == [(2, 1), (2, 3), (5, 1), (5, 3)]
    assert rows[0] == evaluate(leo, features, 2, 1, 2, 150, seed=7)
    assert rows[0] != evaluate(leo, features, 2, 1, 2, 150, seed=8)
    assert rows[0].inner_steps == 5
    assert evaluate(leo, features, 2, 1, 2, 150, seed=7, inner_steps=0).inner_steps == 0
    for row in rows:
        assert 1 / row.way < row.accuracy <= 1
    with pytest.raises(DataError, match="11"):
        evaluate(leo, features, 11, 1, 2, 10)


def test_an_encoder_with_blocks_of_its_own_sees_its_own_features(tmp_path: Path) -> None:
    leo = tiny(own_encoder=True).eval()
    seen = extract_features(leo, load_drawings(write_omniglot(tmp_path, ["Alpha"], 3))).features
    width = leo.config.feature_dim
    assert seen.shape == (10, 3, 2 * width)
    assert not torch.equal(seen[..., :width], seen[..., width:])


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


@pytest.mark.parametrize("setting", [Setting(4, (1, 1), 3), Setting(4, (1, 3), 2), Setting(6, (2, 2), 2, "alphabet")])
def test_tasks_answered_a_few_at_a_time_are_answered_the_same(
    drawings: Drawings, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_features(leo, drawings)
    tasks = sample_tasks(extracted, setting, 130, seed=3)
    together = accuracies(Leo(leo), extracted, tasks)
    assert len(together) == 130
    monkeypatch.setattr("model.evaluation.accuracy.NUMBERS_AT_ONCE", 7 * setting.way * tasks.drawings.shape[2] * 8)
    parts = list(answer_tasks(Leo(leo), extracted, tasks))
    assert len(parts) == math.ceil(130 / 7)
    torch.testing.assert_close(accuracies(Leo(leo), extracted, tasks), together)


def test_a_task_within_one_alphabet_stays_there(drawings: Drawings) -> None:
    extracted = extract_features(tiny().eval(), drawings)
    of = extracted.groups[sample_tasks(extracted, Setting(6, (1, 1), 2, "alphabet"), 50).classes]
    assert (of == of[:, :1]).all()
    assert of.unique().tolist() == [0, 1]
    anywhere = extracted.groups[sample_tasks(extracted, Setting(6, (1, 1), 2), 50).classes]
    assert not (anywhere == anywhere[:, :1]).all()


def test_unequal_shots_leave_padding_out(drawings: Drawings) -> None:
    """A method given the padding's content changed answers alike."""
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_features(leo, drawings)
    tasks = sample_tasks(extracted, Setting(4, (1, 3), 2), 20)
    assert tasks.shots is not None
    other = tasks.drawings.clone()
    padding = torch.arange(3) >= tasks.shots.unsqueeze(-1)
    other[:, :, :3][padding] = 0
    changed = Episodes(tasks.classes, other, tasks.shot, tasks.shots)
    for one, two in zip(
        answer_tasks(Leo(leo), extracted, tasks), answer_tasks(Leo(leo), extracted, changed), strict=True
    ):
        torch.testing.assert_close(one.logits, two.logits)
