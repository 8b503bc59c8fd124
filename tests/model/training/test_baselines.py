"""Tests of the meta-training of MAML, Meta-SGD and ANIL."""

import math
from pathlib import Path

import pytest
import torch

from model.baselines.gradient import KINDS, GradientBased, Kind
from model.data.omniglot import Drawings, load_drawings
from model.training.baselines import meta_train
from model.training.config import BaselineTrainConfig
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha"], 10))


def short_run(**changes: object) -> BaselineTrainConfig:
    return BaselineTrainConfig.model_validate(
        {"steps": 3, "images_per_step": 60, "ways": (3, 5), "shots": (1, 2), "query": 2} | changes
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights_and_every_weight_is_trained(drawings: Drawings, kind: Kind) -> None:
    leo = tiny()
    first, same_seed, other_seed = (GradientBased(leo, kind) for _ in range(3))
    initial = {name: p.detach().clone() for name, p in first.named_parameters()}
    losses = [
        [loss for _, loss in meta_train(method, drawings, 8, short_run(seed=seed), CPU)]
        for method, seed in [(first, 1), (same_seed, 1), (other_seed, 2)]
    ]
    assert losses[0] == losses[1] != losses[2]
    for name, p in first.named_parameters():
        assert torch.equal(p, same_seed.get_parameter(name)), name
        assert not torch.equal(p, initial[name]), name
    assert torch.equal(leo.classifier.phi.blocks[0].weight, initial["phi.blocks.0.weight"])  # the LEO is not changed


def test_a_killed_run_resumes_and_ends_with_the_same_weights(drawings: Drawings, tmp_path: Path) -> None:
    leo, checkpoint, run = tiny(), tmp_path / "anil.state.pt", short_run(steps=14)
    whole = GradientBased(leo, "ANIL")
    losses = [loss for _, loss in meta_train(whole, drawings, 8, run, CPU)]
    for step, _ in meta_train(GradientBased(leo, "ANIL"), drawings, 8, run, CPU, checkpoint):
        if step == 12:
            break
    resumed = GradientBased(leo, "ANIL")
    steps = list(meta_train(resumed, drawings, 8, run, CPU, checkpoint))
    assert steps == list(zip(range(11, 15), losses[10:], strict=True))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    # It is not the checkpoint of a run with other settings, or of another model.
    other_model = tiny()
    torch.nn.init.ones_(other_model.classifier.phi.blocks[0].weight)
    for other, settings in ((leo, short_run(steps=15)), (other_model, run)):
        step, _ = next(meta_train(GradientBased(other, "ANIL"), drawings, 8, settings, CPU, checkpoint))
        assert step == 1


def test_meta_training_lowers_the_query_loss(drawings: Drawings) -> None:
    method = GradientBased(tiny(), "ANIL")
    losses = [loss for _, loss in meta_train(method, drawings, 8, short_run(steps=120, phi_lr=0.003), CPU)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_a_step_that_is_not_finite_changes_nothing(drawings: Drawings) -> None:
    method = GradientBased(tiny(), "ANIL")
    method.log_scale.data.fill_(math.nan)
    before = method.weight.detach().clone()
    assert all(math.isnan(loss) for _, loss in meta_train(method, drawings, 8, short_run(), CPU))
    assert torch.equal(method.weight, before)
