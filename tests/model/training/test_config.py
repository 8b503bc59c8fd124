"""Tests of the settings of training runs."""

import pytest
from pydantic import ValidationError

from model.training.config import BaselineTrainConfig, EpisodeConfig


def test_a_step_has_as_many_tasks_as_fit_into_its_images() -> None:
    config = EpisodeConfig(images_per_step=400, query=5)
    assert config.tasks_per_step(way=5, shot=1) == 13  # 30 images each
    assert config.tasks_per_step(way=20, shot=10) == 1  # 300 images
    assert config.tasks_per_step(way=50, shot=10) == 1  # 750 images: more than a step has


def test_baselines_train_on_the_episodes_of_leo() -> None:
    episodes, baselines = EpisodeConfig(), BaselineTrainConfig()
    assert baselines.model_dump(include=set(EpisodeConfig.model_fields)) == episodes.model_dump()


@pytest.mark.parametrize("setting", [{"query": 0}, {"images_per_step": 10}, {"step": 5}])
def test_impossible_and_unknown_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        BaselineTrainConfig.model_validate(setting)
