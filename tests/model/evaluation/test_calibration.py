import math
from pathlib import Path

import pytest
import torch

from model.config import LEOConfig
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting
from model.evaluation.calibration import fit_sharpness, fit_temperature, reliability, temperature_of
from tests.conftest import tiny
from tests.helpers.drawn import write_omniglot


def test_expected_calibration_error_by_hand() -> None:
    confidences = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.62, 0.62, 1.0])
    correct = torch.tensor([True, True, True, False, True, False, True])
    found = reliability(confidences, correct)
    assert sum(found.counts) == 7
    assert found.counts[14] == 5  # 14/15 = 0.933...; 1.0 belongs to the last bin too
    assert found.counts[9] == 2  # 0.6 to 0.667
    assert found.accuracy[14] == pytest.approx(4 / 5)
    assert found.confidence[14] == pytest.approx(0.96)
    assert found.accuracy[0] is None
    assert found.ece == pytest.approx((5 * abs(0.8 - 0.96) + 2 * abs(0.5 - 0.62)) / 7)


def test_one_who_is_right_as_often_as_it_says_has_no_error() -> None:
    generator = torch.Generator().manual_seed(0)
    confidences = torch.rand(200_000, generator=generator)
    correct = torch.rand(200_000, generator=generator) < confidences
    assert reliability(confidences, correct).ece < 0.01
    assert reliability(confidences, ~correct).ece > 0.3


def test_the_temperature_of_logits_made_too_large_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    answers = []
    for ways in (2, 5):
        honest = 2 * torch.randn(20_000, ways, generator=generator)
        labels = torch.multinomial(honest.softmax(dim=-1), 1, generator=generator).flatten()
        answers.append((3.0 * honest, labels))
    assert fit_temperature(answers) == pytest.approx(3.0, rel=0.03)


def test_what_shots_and_ways_do_to_logits_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    answers, shots = [], []
    for ways in (2, 5, 15):
        for k in (1, 5, 10):
            honest = 2 * torch.randn(20_000, ways, generator=generator)
            labels = torch.multinomial(honest.softmax(dim=-1), 1, generator=generator).flatten()
            answers.append((honest * 3.0 / (k**0.4 * ways**-0.3), labels))
            shots.append(float(k))
    assert fit_sharpness(answers, shots) == pytest.approx((3.0, 0.4, -0.3), abs=0.03)
    config = LEOConfig(temperature=3.0, shot_sharpness=0.4, way_sharpness=-0.3)
    assert config.temperature_at(5, 15) == pytest.approx(3.0 / (5**0.4 * 15**-0.3))


def test_no_temperature_is_best_where_every_answer_is_right() -> None:
    with pytest.raises(ValueError, match="no temperature"):
        fit_temperature([(torch.eye(4), torch.arange(4))])


def test_a_models_temperature_is_seeded_and_changes_no_weight(tmp_path: Path) -> None:
    leo = tiny(decoder_skip=True).eval()
    drawings = load_drawings(write_omniglot(tmp_path, ["Alpha"], 6))
    settings = (Setting(5, (1, 1), 3), Setting(4, (1, 2), 3))
    before = {name: value.clone() for name, value in leo.state_dict().items()}
    one = temperature_of(leo, drawings, settings, episodes=30)
    assert math.isfinite(one)
    assert one == temperature_of(leo, drawings, settings, episodes=30)
    assert one != temperature_of(leo, drawings, settings, episodes=30, seed=2)
    for name, value in leo.state_dict().items():
        assert torch.equal(value, before[name]), name
