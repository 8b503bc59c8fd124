"""Tests of what is done to a trained model of drawings."""

from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from app.cli.card import AFTER_TRAINING
from model.training.config import SetAfterTraining
from model.training.finishing import finish, with_settings
from tests.helpers.models import tiny
from tests.helpers.training import run_config


def test_a_finished_model_has_the_rank_and_the_settings_of_its_run() -> None:
    trained = tiny(widths=(8, 8, 64), decoder_skip=True)  # heads of 65 numbers
    config = run_config(low_rank=40, after_training={"support_views": 3, "inner_temperature": 2.5})
    finished = finish(trained, config)
    assert (finished.config.decoder_rank, finished.config.support_views) == (40, 3)
    assert finished.config.inner_temperature == 2.5
    assert finished.decoder.basis is not None
    assert torch.equal(finished.classifier.phi.blocks[0].weight, trained.classifier.phi.blocks[0].weight)
    assert (trained.config.decoder_rank, trained.config.support_views) == (None, 1)  # it is not changed


def test_a_new_inner_lr_becomes_alpha() -> None:
    trained = tiny()
    torch.nn.init.normal_(trained.alpha)
    changed = with_settings(trained, {"inner_lr": 0.07, "inner_ridge": 2.5})
    assert (changed.config.inner_lr, changed.config.inner_ridge) == (0.07, 2.5)
    assert torch.equal(changed.alpha, torch.full_like(trained.alpha, 0.07))
    assert torch.equal(with_settings(trained, {"inner_ridge": 2.5}).alpha, trained.alpha)


def test_a_run_without_them_ends_with_what_was_trained() -> None:
    trained = tiny()
    finished = finish(trained, run_config())
    assert finished.config == trained.config
    for name, value in trained.state_dict().items():
        assert torch.equal(value, finished.state_dict()[name]), name


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="inner_temperature"):
        with_settings(tiny(), {"inner_temperature": -1})
    with pytest.raises(ValidationError, match="after_training"):
        run_config(after_training={"latent_dim": 3})


def test_the_command_line_names_what_can_be_set_after_training() -> None:
    assert get_args(SetAfterTraining) == AFTER_TRAINING
