import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model.config import LEOConfig
from model.data.omniglot import Drawings, load_drawings
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from model.training.augmentation import augment, working_side
from model.training.augmented_batches import turn
from model.training.drawings import TrainConfig, Trainer
from tests.helpers.drawn import write_omniglot


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    alphabets = ["Alpha", "Beta", "Tagalog", "Sanskrit"]
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("omniglot"), alphabets, drawings=18))


def run_config(**changes: object) -> TrainConfig:
    small = {"resolution": 14, "widths": (8, 8, 8), "latent_dim": 32, "decoder_hidden": (16, 24)}
    return TrainConfig.model_validate(
        {
            "leo": LEOConfig.model_validate(small | {"decoder_skip": True, "inner_lr": 0.3}),
            "pretrain_steps": 6,
            "pretrain_batch": 16,
            "episode_steps": 4,
            "images_per_step": 60,
            "ways": (3, 5),
            "shots": (1, 2),
            "query": 2,
            "validate_every": 2,
        }
        | changes
    )


def trainer(drawings: Drawings, folder: Path, config: TrainConfig, **options: Any) -> Trainer:
    return Trainer(
        config, drawings.split("train"), drawings.split("validation"), folder, torch.device("cpu"), **options
    )


def weights(leo: LatentEmbeddingOptimization) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in leo.state_dict().items()}


def test_a_fixed_seed_gives_the_same_run(drawings: Drawings, tmp_path: Path) -> None:
    runs = [trainer(drawings, tmp_path / name, run_config(seed=seed)) for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    losses = [[step.loss for step in run.run()] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    for name, value in weights(runs[0].leo).items():
        assert torch.equal(value, weights(runs[1].leo)[name]), name


@pytest.mark.parametrize("killed_after", [3, 7])  # in either stage, between checkpoints
def test_a_killed_run_resumes_to_the_same_result(drawings: Drawings, tmp_path: Path, killed_after: int) -> None:
    whole = trainer(drawings, tmp_path / "whole", run_config())
    list(whole.run())
    killed = trainer(drawings, tmp_path / "killed", run_config())
    for step, _ in enumerate(killed.run(), start=1):
        if step == killed_after:
            break
    resumed = trainer(drawings, tmp_path / "killed", run_config())
    assert resumed.step > 0
    list(resumed.run())
    for name, value in weights(whole.leo).items():
        assert torch.equal(value, weights(resumed.leo)[name]), name


def test_other_settings_do_not_resume(drawings: Drawings, tmp_path: Path) -> None:
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


def test_a_teacher_is_agreed_with(drawings: Drawings, tmp_path: Path) -> None:
    teacher = trainer(drawings, tmp_path / "teacher", run_config())
    list(teacher.run())
    config = run_config(distill=5.0, pretrain_steps=30, episode_steps=0, seed=4)
    steps = list(trainer(drawings, tmp_path / "pupil", config, teacher=teacher.leo.eval()).run())
    assert steps[-1].watch["agreement"] > steps[0].watch["agreement"] + 0.1
    with pytest.raises(ValueError, match="needs a teacher"):
        trainer(drawings, tmp_path / "alone", config)


def test_a_non_finite_step_of_stage_one_changes_nothing_and_is_counted(drawings: Drawings, tmp_path: Path) -> None:
    run = trainer(drawings, tmp_path, run_config())
    run.prototypes.data[0, 0] = float("nan")
    before = {name: p.detach().clone() for name, p in run.leo.named_parameters() if name != "classifier.phi.centre"}
    steps = run.run()
    assert math.isnan(next(steps).loss)
    assert run.leo.skipped_steps == 1
    for name, value in before.items():
        assert torch.equal(value, run.leo.get_parameter(name)), name


def test_training_learns(drawings: Drawings, tmp_path: Path) -> None:
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


def test_augmentation_is_seeded_and_keeps_the_drawing(drawings: Drawings) -> None:
    side = working_side(28)
    images = to_side(drawings.images[:4, 0], side).unsqueeze(1).float() / 255
    one = augment(images, 28, torch.Generator().manual_seed(1))
    assert one.shape == (4, 1, 28, 28)
    assert torch.equal(one, augment(images, 28, torch.Generator().manual_seed(1)))
    assert not torch.equal(one, augment(images, 28, torch.Generator().manual_seed(2)))
    assert one.min() >= 0
    assert one.max() <= 1
    before, after = images.mean(dim=(1, 2, 3)), one.mean(dim=(1, 2, 3))
    assert (after > 0.3 * before).all()
    assert (after < 3 * before).all()


def test_turns_are_quarter_circles() -> None:
    images = torch.rand(4, 1, 5, 5)
    turned = turn(images, torch.arange(4))
    mirrored = turn(images, torch.arange(4, 8))
    for quarter in range(4):
        assert torch.equal(turned[quarter], torch.rot90(images[quarter], quarter, dims=(-2, -1)))
        assert torch.equal(mirrored[quarter], turned[quarter].flip(-1))


def test_a_run_goes_on_from_a_trained_model(drawings: Drawings, tmp_path: Path) -> None:
    first = trainer(drawings, tmp_path / "first", run_config())
    list(first.run())
    again = trainer(drawings, tmp_path / "again", run_config(), start=first.leo)
    for name, value in first.leo.classifier.phi.state_dict().items():
        assert torch.equal(value, again.leo.classifier.phi.state_dict()[name]), name
    # What it knows of the training classes is there from the first step on.
    afresh = trainer(drawings, tmp_path / "afresh", run_config())
    assert next(again.run()).watch["accuracy"] > next(afresh.run()).watch["accuracy"]


def test_a_model_of_another_shape_is_no_start(drawings: Drawings, tmp_path: Path) -> None:
    other = LatentEmbeddingOptimization(config=LEOConfig(resolution=14, widths=(4, 8), decoder_skip=True))
    with pytest.raises(ValueError, match="another shape"):
        trainer(drawings, tmp_path / "run", run_config(), start=other)
