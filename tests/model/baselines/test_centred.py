"""Tests of centred features, by hand arithmetic."""

import torch

from model.baselines.centred import Centred
from model.baselines.extractors import LeoExtractor
from model.baselines.prototypes import CosinePrototypes
from model.functional import one_hot
from tests.helpers.models import tiny


def test_the_mean_of_the_support_without_padding_is_subtracted() -> None:
    extractor = LeoExtractor(tiny())
    method = Centred(CosinePrototypes(extractor), extractor)
    assert method.name == "cosine prototypes, centred"
    # The mean of the two examples is (10, 0); the third is padding. Around it they are (0, 3) and (0, -3).
    support = torch.tensor([[[10.0, 3.0], [10.0, -3.0], [99.0, 99.0]]])
    state = method.adapt(support, one_hot(torch.tensor([[0, 1, -1]])))
    torch.testing.assert_close(state.centre, torch.tensor([[[10.0, 0.0]]]))
    # The query becomes (3, 4): its cosines are 4/5 and -4/5. Not centred, both cosines would be above 0.8.
    logits = method.logits(state, torch.tensor([[[13.0, 4.0]]]))
    torch.testing.assert_close(logits, torch.tensor([[[8.0, -8.0]]]))
