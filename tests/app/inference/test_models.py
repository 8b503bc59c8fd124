"""A reload is complete before any work sees it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.models import Models
from app.inference.readiness import two_strokes
from app.inference.work import Adapt, Adapted, Predict, Work
from app.problems import Problem
from app.settings import PROJECT, Settings
from model.checkpoint import CheckpointError, save_model
from model.leo import LatentEmbeddingOptimization


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT / "weights" / "omniglot", tmp_path / "weights"))


@pytest.fixture
def settings(weights: Path) -> Settings:
    return Settings(weights=weights, device="cpu")


def train_further(weights: Path) -> None:
    leo = LatentEmbeddingOptimization.from_pretrained(weights)
    with torch.no_grad():
        leo.alpha.mul_(1.01)
    save_model(leo, weights, "omniglot", {})


def query_of(models: Models) -> Work:
    """Return a prediction for a task of the version that serves now."""
    version = models.default.info.version
    strokes = two_strokes(models.default.shape)
    (adapted,) = models.run([Adapt(strokes, np.array([0, 1]), model_version=version)])
    assert isinstance(adapted, Adapted)
    return Predict(strokes, None, adapted.codes, version)


def test_work_that_waited_through_two_reloads_is_still_answered(weights: Path, settings: Settings) -> None:
    models = Models.load(settings)
    waiting = [query_of(models)]
    for _ in range(2):
        train_further(weights)
        assert [engine.info.version for engine in models.reload(settings)] == [models.default.info.version]
        waiting.append(query_of(models))
    for result in models.run(waiting):
        assert not isinstance(result, Problem)


class Watched(Models):
    """Models of which it is checked, after each change, that work for every version that they offer can run."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if "_by_version" in self.__dict__:
            assert {engine.info.version for engine in self} <= self._by_version.keys()


def test_at_no_moment_of_a_reload_a_version_is_offered_that_cannot_run(weights: Path, settings: Settings) -> None:
    models = Watched.load(settings)
    train_further(weights)
    assert [engine.info.version for engine in models.reload(settings)] == [models.default.info.version]


def test_work_for_a_version_that_is_gone_fails_alone(settings: Settings) -> None:
    models = Models.load(settings)
    query = query_of(models)
    assert isinstance(query, Predict)
    gone = Predict(query.images, None, query.codes, "0" * 12)
    first, second = models.run([gone, query])
    assert isinstance(first, Problem)
    assert first.status == 409
    assert not isinstance(second, Problem)


def test_a_damaged_file_is_noticed_even_with_the_same_version(weights: Path, settings: Settings) -> None:
    models = Models.load(settings)
    file = weights / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged or of another model"):
        models.reload(settings)
    assert not isinstance(models.run([query_of(models)])[0], Problem)


def test_batches_are_sized_for_the_models_that_are_loaded_now(settings: Settings) -> None:
    models = Models.load(settings)
    small = models.batch_images
    models.reload(settings.model_copy(update={"models": "photos-lite0"}))
    assert models.batch_images < small
