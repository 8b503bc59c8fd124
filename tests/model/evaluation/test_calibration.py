"""Tests of calibration: reliability, and the fit of a temperature."""

from pathlib import Path

import pytest
import torch

from model.config import LEOConfig
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting
from model.evaluation.calibration import calibrate, fit_sharpness
from model.evaluation.extracted_features import extract_leo_features
from model.evaluation.reliability import reliability
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


def test_expected_calibration_error_by_hand() -> None:
    confidences = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.62, 0.62, 1.0])
    correct = torch.tensor([True, True, True, False, True, False, True])
    diagram = reliability(confidences, correct)
    assert sum(diagram.counts) == 7
    assert diagram.counts[14] == 5  # 14/15 = 0.933...; 1.0 belongs to the last bin too
    assert diagram.counts[9] == 2  # 0.6 to 0.667
    assert diagram.accuracy[14] == pytest.approx(4 / 5)
    assert diagram.confidence[14] == pytest.approx(0.96)
    assert diagram.accuracy[0] is None
    assert diagram.ece == pytest.approx((5 * abs(0.8 - 0.96) + 2 * abs(0.5 - 0.62)) / 7)


def test_probabilities_that_match_accuracy_have_no_calibration_error() -> None:
    generator = torch.Generator().manual_seed(0)
    confidences = torch.rand(200_000, generator=generator)
    correct = torch.rand(200_000, generator=generator) < confidences
    assert reliability(confidences, correct).ece < 0.01
    assert reliability(confidences, ~correct).ece > 0.3


def test_the_fit_finds_how_logits_grow_with_shots_and_ways() -> None:
    generator = torch.Generator().manual_seed(0)
    parts, shots = [], []
    for ways in (2, 5, 15):
        for k in (1, 5, 10):
            calibrated = 2 * torch.randn(20_000, ways, generator=generator)
            labels = torch.multinomial(calibrated.softmax(dim=-1), 1, generator=generator).flatten()
            parts.append((calibrated * 3.0 / (k**0.4 * ways**-0.3), labels))
            shots.append(float(k))
    assert fit_sharpness(parts, shots) == pytest.approx((3.0, 0.4, -0.3), abs=0.03)
    config = LEOConfig(temperature=3.0, shot_sharpness=0.4, way_sharpness=-0.3)
    assert config.temperature_at(5, 15) == pytest.approx(3.0 / (5**0.4 * 15**-0.3))


def test_a_fit_without_a_wrong_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no temperature"):
        fit_sharpness([(torch.eye(4), torch.arange(4))], [1.0])


def test_calibrating_a_model_is_repeatable_and_changes_no_weight(tmp_path: Path) -> None:
    leo = tiny(decoder_skip=True).eval()
    drawings = load_drawings(write_omniglot(tmp_path, ["Alpha"], 6))
    settings = (Setting(5, (1, 1), 3), Setting(4, (1, 2), 3))
    before = {name: value.clone() for name, value in leo.state_dict().items()}
    extracted = [extract_leo_features(leo, drawings)]
    one = calibrate(leo, extracted, settings, episodes=30)
    assert LEOConfig.model_validate(one).temperature_at(5, 2) > 0
    assert one == calibrate(leo, extracted, settings, episodes=30)
    assert one != calibrate(leo, extracted, settings, episodes=30, seed=2)
    for name, value in leo.state_dict().items():
        assert torch.equal(value, before[name]), name
