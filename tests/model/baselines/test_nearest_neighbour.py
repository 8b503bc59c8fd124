"""Tests of the nearest neighbour, by hand arithmetic."""

import torch

from model.baselines.extractors import LeoExtractor
from model.baselines.nearest_neighbour import NearestNeighbour
from model.functional import one_hot
from tests.helpers.models import tiny


def test_the_nearest_example_decides_and_not_the_class_mean() -> None:
    # Class 0 has an example along each axis, class 1 one along the diagonal. The query lies near the first axis.
    support = torch.tensor([[[5.0, 0.0], [0.0, 5.0], [1.0, 1.0]]])
    method = NearestNeighbour(LeoExtractor(tiny()))
    logits = method.logits(method.adapt(support, one_hot(torch.tensor([[0, 0, 1]]))), torch.tensor([[[4.0, 3.0]]]))
    # 10 cos: 10 · 4/5 with the first example, 10 · 7/(5 √2) with the diagonal.
    torch.testing.assert_close(logits, torch.tensor([[[8.0, 14 / 2**0.5]]]))
    logits = method.logits(method.adapt(support, one_hot(torch.tensor([[0, 0, 1]]))), torch.tensor([[[12.0, 5.0]]]))
    torch.testing.assert_close(logits, torch.tensor([[[120 / 13, 170 / (13 * 2**0.5)]]]))
