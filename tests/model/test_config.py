"""LEOConfig: impossible values, warnings, stored configs."""

import warnings

import pytest
from pydantic import ValidationError

from model.config import RETIRED, LEOConfig


def test_the_basic_shape() -> None:
    config = LEOConfig.basic()
    assert (config.resolution, config.feature_dim, config.latent_dim) == (105, 2304, 64)
    assert 5 * (config.feature_dim + 1) == 11_525  # parameters generated for a 5-way task


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kl_weight": 0.1}, "stochastic"),
        ({"widths": (4, 0)}, "positive"),
        ({"resolution": 8, "widths": (4, 4, 4, 4)}, "halve"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"inner_lr": 0}, "inner_lr"),
        ({"inner_lr": float("nan")}, "inner_lr"),
        ({"inner_steps": -1}, "inner_steps"),
        ({"decoder_hidden": (0, 512)}, "decoder_hidden"),
        ({"width": 64}, "width"),
    ],
)
def test_impossible_values_are_errors_that_name_them(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LEOConfig.model_validate(change)


@pytest.mark.parametrize(
    "change",
    [{"latent_dim": 16}, {"outer_lr": 0.1}, {"inner_steps": 20}, {"inner_lr": 0.5, "learn_inner_lr": False}],
)
def test_values_outside_the_recommended_range_warn(change: dict[str, object]) -> None:
    with pytest.warns(UserWarning, match="recommended"):
        LEOConfig.model_validate(change)


def test_a_learned_alpha_may_start_anywhere() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LEOConfig(inner_lr=1.0)


def test_a_stored_config_may_name_retired_settings_with_the_value_that_changes_nothing() -> None:
    assert LEOConfig.model_validate({"resolution": 28} | RETIRED) == LEOConfig(resolution=28)
    with pytest.raises(ValidationError, match="stem_stride"):
        LEOConfig.model_validate({"stem_stride": 2})


def test_a_config_survives_json() -> None:
    config = LEOConfig(resolution=28, decoder_skip=True)
    assert LEOConfig.model_validate_json(config.model_dump_json()) == config
