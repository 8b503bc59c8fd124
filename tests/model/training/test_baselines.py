import math

import pytest
import torch

from model.baselines.gradient import KINDS, GradientBased, Kind
from model.data.omniglot import Drawings, load_drawings
from model.training.baselines import L2_GRID, Budget, best, choose_l2, meta_train
from tests.conftest import tiny
from tests.helpers.drawn import write_omniglot

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha"], 10))


def budget(**changes: object) -> Budget:
    return Budget.model_validate(
        {"steps": 3, "images_per_step": 60, "ways": (3, 5), "shots": (1, 2), "query": 2} | changes
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_trains_the_same_and_every_weight_learns(drawings: Drawings, kind: Kind) -> None:
    leo = tiny()
    one, again, other = (GradientBased(leo, kind) for _ in range(3))
    fresh = {name: p.detach().clone() for name, p in one.named_parameters()}
    losses = [
        [loss for _, loss in meta_train(method, drawings, 8, budget(seed=seed), CPU)]
        for method, seed in [(one, 1), (again, 1), (other, 2)]
    ]
    assert losses[0] == losses[1] != losses[2]
    for name, p in one.named_parameters():
        assert torch.equal(p, again.get_parameter(name)), name
        assert not torch.equal(p, fresh[name]), name
    assert torch.equal(leo.classifier.phi.blocks[0].weight, fresh["phi.blocks.0.weight"])  # the LEO's own phi stays


def test_meta_training_learns(drawings: Drawings) -> None:
    method = GradientBased(tiny(), "ANIL")
    losses = [loss for _, loss in meta_train(method, drawings, 8, budget(steps=120, phi_lr=0.003), CPU)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_a_step_that_is_not_finite_changes_nothing(drawings: Drawings) -> None:
    method = GradientBased(tiny(), "ANIL")
    method.log_scale.data.fill_(math.nan)
    before = method.weight.detach().clone()
    assert all(math.isnan(loss) for _, loss in meta_train(method, drawings, 8, budget(), CPU))
    assert torch.equal(method.weight, before)


def test_the_l2_is_the_most_accurate_of_the_grid(drawings: Drawings) -> None:
    found = choose_l2(tiny().eval(), drawings, episodes=10)
    assert tuple(found) == L2_GRID
    assert len(set(found.values())) > 1  # the strength matters here
    assert found == choose_l2(tiny().eval(), drawings, episodes=10)
    assert best({0.1: 0.5, 0.2: 0.7, 0.3: 0.7, 0.4: 0.6}) == 0.3
