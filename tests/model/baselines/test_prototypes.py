"""Tests of prototypes, by hand arithmetic."""

import torch

from model.baselines.extractors import LeoExtractor
from model.baselines.prototypes import CosinePrototypes, EuclideanPrototypes
from model.functional import one_hot
from tests.helpers.models import tiny

CORNERS = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]])  # [1, S=3, F=2], means (2, 0) and (0, 1)
MEMBERSHIP = one_hot(torch.tensor([[0, 0, 1]]))
QUERY = torch.tensor([[[3.0, 4.0]]])


def test_cosine_prototypes_by_hand() -> None:
    method = CosinePrototypes(LeoExtractor(tiny()))
    logits = method.logits(method.adapt(CORNERS, MEMBERSHIP), QUERY)
    torch.testing.assert_close(logits, torch.tensor([[[6.0, 8.0]]]))  # 10 cos: 10 · 3/5 and 10 · 4/5


def test_euclidean_prototypes_by_hand() -> None:
    method = EuclideanPrototypes(LeoExtractor(tiny()))
    logits = method.logits(method.adapt(CORNERS, MEMBERSHIP), QUERY)
    # Squared distances (3-2)² + 4² = 17 and 3² + (4-1)² = 18; |query|² = 25 is left out of both.
    torch.testing.assert_close(logits, torch.tensor([[[25.0 - 17.0, 25.0 - 18.0]]]))
