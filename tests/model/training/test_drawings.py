"""Tests of the meta-training of models of drawings."""

from pathlib import Path

import pytest
import torch

from model.config import LEOConfig
from model.data.omniglot import Drawings, load_drawings
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig
from model.training.presets import PRESETS
from tests.helpers.drawn import write_omniglot
from tests.helpers.training import run_config, trainer


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    alphabets = ["Alpha", "Beta", "Tagalog", "Sanskrit"]
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("omniglot"), alphabets, drawings=18))


def weights(leo: LatentEmbeddingOptimization) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in leo.state_dict().items()}


def test_the_same_seed_gives_the_same_run(drawings: Drawings, tmp_path: Path) -> None:
    runs = [trainer(drawings, tmp_path / name, run_config(seed=seed)) for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    losses = [[step.loss for step in run.run()] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    for name, value in weights(runs[0].leo).items():
        assert torch.equal(value, weights(runs[1].leo)[name]), name


@pytest.mark.parametrize("killed_after", [3, 9, 13])  # between checkpoints of each stage
def test_a_killed_run_resumes_and_ends_with_the_same_weights(
    drawings: Drawings, tmp_path: Path, killed_after: int
) -> None:
    config = run_config(view_steps=4)
    whole = trainer(drawings, tmp_path / "whole", config)
    list(whole.run())
    killed = trainer(drawings, tmp_path / "killed", config)
    for step, _ in enumerate(killed.run(), start=1):
        if step == killed_after:
            break
    resumed = trainer(drawings, tmp_path / "killed", config)
    assert resumed.step > 0
    list(resumed.run())
    for name, value in weights(whole.leo).items():
        assert torch.equal(value, weights(resumed.leo)[name]), name


def test_a_run_with_other_settings_is_not_resumed(drawings: Drawings, tmp_path: Path) -> None:
    list(trainer(drawings, tmp_path, run_config()).run())
    with pytest.raises(ValueError, match="other settings"):
        trainer(drawings, tmp_path, run_config(seed=9))


def test_validation_alphabets_are_never_trained_on(drawings: Drawings, tmp_path: Path) -> None:
    one = trainer(drawings, tmp_path / "one", run_config())
    changed = Drawings(drawings.images.clone(), drawings.counts, drawings.alphabets, drawings.names)
    for c, alphabet in enumerate(drawings.alphabets):
        if alphabet in ("Tagalog", "Sanskrit"):
            changed.images[c] = ~changed.images[c]
    other = trainer(changed, tmp_path / "other", run_config())
    list(one.run())
    list(other.run())
    for name, value in weights(one.leo).items():
        assert torch.equal(value, weights(other.leo)[name]), name


def test_a_checkpoint_of_a_default_run_has_at_most_16_mb(tmp_path: Path) -> None:
    # As many classes as in Omniglot, 151 of them held back.
    alphabets = ("Tagalog",) * 151 + ("Alpha",) * 813
    images = torch.rand(964, 2, 105, 105, generator=torch.Generator().manual_seed(0)) > 0.9
    names = tuple(f"character{number}" for number in range(964))
    data = Drawings(images, torch.full((964,), 2), alphabets, names)
    for preset in ("omniglot", "omniglot-100x"):
        short = {
            "pretrain_steps": 1,
            "pretrain_batch": 8,
            "episode_steps": 1,
            "view_steps": 1,
            "images_per_step": 20,
            "checkpoint_every": 1,
        }
        config = DrawingTrainConfig.model_validate(PRESETS[preset].model_dump() | short | {"ways": (5,), "shots": (1,)})
        for _ in trainer(data, tmp_path / preset, config).run():
            assert (tmp_path / preset / "state.pt").stat().st_size <= 16e6


def test_pretraining_can_take_mirror_images_as_classes(drawings: Drawings, tmp_path: Path) -> None:
    config = run_config(pretrain_mirrored=True, pretrain_elastic=0.05)
    run = trainer(drawings, tmp_path / "mirrored", config)
    assert len(run.pretraining.prototypes) == 8 * len(drawings.split("train"))
    rotated = trainer(drawings, tmp_path / "rotated", run_config())
    assert next(run.run()).loss != next(rotated.run()).loss
    next(trainer(drawings, tmp_path / "again", config, start=run.leo).run())


def test_training_raises_accuracy_and_keeps_codes_apart(drawings: Drawings, tmp_path: Path) -> None:
    # At run_config's alpha of 0.3 five steps overshoot on a model this small, and 40 episodes cannot unlearn that.
    leo = run_config().leo.model_copy(update={"inner_lr": 0.02})
    config = run_config(leo=leo, pretrain_steps=150, episode_steps=40, validate_every=50, pretrain_batch=32)
    steps = list(trainer(drawings, tmp_path, config).run())
    *before, last = [step.validation for step in steps if step.validation is not None]
    assert last > max(*before, 0.5)  # 5-way: 0.2 is chance
    episodes = [step.watch for step in steps[-20:]]
    assert all(watch["support_loss_after"] < watch["support_loss_before"] for watch in episodes)
    assert episodes[-1]["code_spread"] > 0.3
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0].startswith("stage,step,seconds,loss,validation")
    assert len(log) == 1 + len(before) + 1


def test_training_can_start_from_a_trained_model(drawings: Drawings, tmp_path: Path) -> None:
    first = trainer(drawings, tmp_path / "first", run_config())
    list(first.run())
    again = trainer(drawings, tmp_path / "again", run_config(), start=first.leo)
    for name, value in first.leo.classifier.phi.state_dict().items():
        assert torch.equal(value, again.leo.classifier.phi.state_dict()[name]), name
    # It classifies the training classes better from the first step on.
    untrained = trainer(drawings, tmp_path / "untrained", run_config())
    assert next(again.run()).watch["accuracy"] > next(untrained.run()).watch["accuracy"]


def test_training_cannot_start_from_a_model_of_another_shape(drawings: Drawings, tmp_path: Path) -> None:
    other = LatentEmbeddingOptimization(config=LEOConfig(resolution=14, widths=(4, 8), decoder_skip=True))
    with pytest.raises(ValueError, match="another shape"):
        trainer(drawings, tmp_path / "run", run_config(), start=other)
