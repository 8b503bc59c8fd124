"""Tests of the stage in which phi learns its own mean over several views of a drawing."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from model.config import LEOConfig
from model.data.omniglot import Drawings, load_drawings
from model.training.finishing import with_settings
from tests.helpers.drawn import write_omniglot
from tests.helpers.training import run_config, trainer


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("omniglot"), ["Alpha", "Beta", "Tagalog"], drawings=18))


def test_phi_comes_nearer_to_its_own_mean_over_the_views(drawings: Drawings, tmp_path: Path) -> None:
    config = run_config(pretrain_steps=40, view_steps=80, view_lr=3e-3, taught_views=5)
    run = trainer(drawings, tmp_path, config)
    steps = [step for step in run.run() if step.stage == "views"]
    assert len(steps) == 80
    assert steps[0].watch["distance"] > 1.2 * steps[-1].watch["distance"]


def test_its_teacher_sees_a_drawing_as_a_support_of_so_many_views(drawings: Drawings, tmp_path: Path) -> None:
    run = trainer(drawings, tmp_path, run_config(view_steps=1, taught_views=5))
    list(run.run())
    assert run.view_teaching is not None
    images = run.batches.plain_batch(*(torch.arange(6) % 4 for _ in range(3)))
    of_five_views = with_settings(run.leo, {"support_views": 5})
    of_five_views.classifier.phi.load_state_dict(run.view_teaching.teacher.state_dict())
    with torch.no_grad():
        expected = F.normalize(of_five_views.support_features(images), dim=-1)
    torch.testing.assert_close(run.view_teaching.teach(images), expected, atol=0.02, rtol=0)  # it may run in bfloat16


def test_nothing_but_phi_changes(drawings: Drawings, tmp_path: Path) -> None:
    run = trainer(drawings, tmp_path, run_config(view_steps=3))
    before: dict[str, torch.Tensor] = {}
    for step in run.run():
        if step.stage == "episodes" and step.step == step.steps:
            before = {name: value.detach().clone() for name, value in run.leo.state_dict().items()}
    changed = {name for name, value in run.leo.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("classifier.phi.") for name in changed)
    assert not any("running" in name for name in changed)  # normalisation keeps its statistics


def test_an_encoder_with_blocks_of_its_own_cannot_be_taught_so() -> None:
    with pytest.raises(ValidationError, match="own_encoder=False"):
        run_config(leo=LEOConfig(own_encoder=True), view_steps=1)
