"""Tests of the logistic head."""

import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional as F

from model.baselines.extractors import LeoExtractor
from model.baselines.logistic import LogisticHead
from model.functional import one_hot
from tests.helpers.models import tiny


@pytest.mark.usefixtures("double")
def test_the_optimum_is_the_one_that_another_solver_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    support, l2 = torch.randn(1, 12, 4, generator=generator), 0.03
    labels = torch.arange(3).repeat(4)[None]
    method = LogisticHead(LeoExtractor(tiny()), l2)
    heads = method.adapt(support, one_hot(labels)).heads[0]  # [3, 5]

    def loss(flat: object) -> tuple[float, object]:
        w = torch.tensor(flat).view(3, 5).requires_grad_()
        value = F.cross_entropy(support[0] @ w[:, :-1].T + w[:, -1], labels[0]) + l2 / 2 * w.square().sum()
        value.backward()
        assert w.grad is not None
        return float(value.detach()), w.grad.flatten().numpy()

    found = minimize(loss, torch.zeros(15).numpy(), jac=True, method="BFGS", options={"gtol": 1e-8})
    torch.testing.assert_close(heads.flatten(), torch.tensor(found.x), atol=2e-3, rtol=0)


def test_no_regularisation_is_refused() -> None:
    with pytest.raises(ValueError, match="no optimum"):
        LogisticHead(LeoExtractor(tiny()), 0)


def test_an_optimum_that_is_not_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.baselines.logistic.MAX_ITERATIONS", 2)
    with pytest.raises(RuntimeError, match=r"did not converge in 2 iterations: raise l2 above 0\.01"):
        LogisticHead(LeoExtractor(tiny()), 0.01).adapt(torch.randn(1, 4, 3), one_hot(torch.tensor([[0, 1, 0, 1]])))
