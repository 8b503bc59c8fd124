"""Tests of the supervised pretraining of phi."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from model.data.omniglot import Drawings, load_drawings
from model.training.drawing_batches import ROTATIONS
from tests.helpers.drawn import write_omniglot
from tests.helpers.training import run_config, trainer


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("omniglot"), ["Alpha", "Tagalog"], drawings=18))


def test_distillation_brings_codes_nearer_to_the_teachers(drawings: Drawings, tmp_path: Path) -> None:
    teacher = trainer(drawings, tmp_path / "teacher", run_config())
    list(teacher.run())
    config = run_config(distill=5.0, pretrain_steps=30, episode_steps=0, seed=4)
    steps = list(trainer(drawings, tmp_path / "pupil", config, teacher=teacher.leo.eval()).run())
    assert steps[-1].watch["agreement"] > steps[0].watch["agreement"] + 0.1
    with pytest.raises(ValueError, match="needs a teacher"):
        trainer(drawings, tmp_path / "alone", config)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(drawings: Drawings, tmp_path: Path) -> None:
    run = trainer(drawings, tmp_path, run_config())
    run.pretraining.prototypes.data[0, 0] = float("nan")
    before = {name: p.detach().clone() for name, p in run.leo.named_parameters() if name != "classifier.phi.centre"}
    assert math.isnan(next(run.run()).loss)
    assert run.leo.skipped_steps == 1
    for name, value in before.items():
        assert torch.equal(value, run.leo.get_parameter(name)), name


def test_prototypes_can_start_as_the_mean_codes_of_their_classes(drawings: Drawings, tmp_path: Path) -> None:
    run = trainer(drawings, tmp_path, run_config())
    run.pretraining.prototypes_from_codes()
    leo, c, rotation = run.leo.eval(), 3, 2
    places = torch.arange(18)
    images = run.batches.plain_batch(torch.full_like(places, c), places, torch.full_like(places, rotation))
    with torch.no_grad():
        codes = leo.encoder.to_code(leo.features(leo.classifier.phi, images))
    expected = F.normalize(codes, dim=-1).mean(dim=0)
    torch.testing.assert_close(run.pretraining.prototypes[c * ROTATIONS + rotation].detach(), expected)
