"""Tests of the curvature by which the inner loop can divide its gradients."""

import pytest
import torch

from model.functional import one_hot
from model.networks.curvature import Curvature


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("width", [9, 4], ids=["more numbers than examples", "more examples than numbers"])
def test_dividing_multiplies_by_the_inverse_of_the_second_moments_and_the_ridge(width: int) -> None:
    torch.manual_seed(0)
    encoded, gradient = torch.randn(2, 6, width), torch.randn(2, 3, width)
    labels = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 2, -1, -1]])  # -1: padding
    divided = Curvature.of(encoded, one_hot(labels, 3), 0.3).divide(gradient)
    for task, real in enumerate((6, 4)):
        examples = encoded[task, :real]
        expected = real * gradient[task] @ (examples.T @ examples + 0.3 * torch.eye(width)).inverse()
        torch.testing.assert_close(divided[task], expected)


def test_what_is_inverted_is_never_larger_than_a_code() -> None:
    """A thousand photos in three views would be a matrix of 36 MB."""
    membership = one_hot(torch.zeros(1, 40, dtype=torch.int64))
    assert Curvature.of(torch.randn(1, 40, 8), membership, 0.3).inverse.shape == (1, 8, 8)


@pytest.mark.usefixtures("double")
def test_one_step_from_nothing_is_ridge_regression() -> None:
    """At codes of 0 the gradient is X'(1/N - Y): divided by the curvature, ridge regression's coefficients."""
    torch.manual_seed(0)
    encoded, labels = torch.randn(1, 8, 5), torch.arange(8).unsqueeze(0) % 4
    membership = one_hot(labels, 4)  # [1, 8, 4]
    gradient = (0.25 - membership).mT @ encoded / 8
    codes = -Curvature.of(encoded, membership, 0.1).divide(gradient)
    x, targets = encoded[0], membership[0] - 0.25
    torch.testing.assert_close(codes[0], ((x.T @ x + 0.1 * torch.eye(5)).inverse() @ x.T @ targets).T)
