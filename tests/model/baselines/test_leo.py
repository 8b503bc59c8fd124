"""Tests of LEO as one of the methods."""

import pytest
import torch

from model.baselines.extractors import LeoExtractor, OwnEncoderExtractor
from model.baselines.leo import LeoMethod
from model.functional import one_hot
from model.serving.adapt import Adapter, Support
from tests.helpers.models import tiny


@pytest.mark.parametrize("own_encoder", [False, True])
def test_logits_are_those_of_the_leo_that_is_served(*, own_encoder: bool) -> None:
    leo = tiny(own_encoder=own_encoder, decoder_skip=True, inner_lr=0.5).eval()
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 0, 1, 1, 2, 2])
    method = LeoMethod(leo, 3)
    extracted = method.extractor(images)[None]
    logits = method.logits(method.adapt(extracted, one_hot(labels[None])), extracted)
    with torch.no_grad():
        features = leo.features(leo.classifier.phi, images)
        encoder_features = leo.features(leo.encoder_phi, images)
    (served,) = Adapter(leo).adapt([Support(features, encoder_features, labels.numpy())], 3)
    torch.testing.assert_close(logits[0], features @ served.weight.T + served.bias, atol=1e-4, rtol=1e-4)


def test_the_number_of_steps_is_the_configs_unless_given() -> None:
    leo = tiny(inner_steps=4).eval()
    assert (LeoMethod(leo).steps, LeoMethod(leo).name) == (4, "LEO 4 steps")
    assert (LeoMethod(leo, 0).steps, LeoMethod(leo, 0).name) == (0, "LEO 0 steps")


def test_an_encoder_with_its_own_blocks_needs_its_own_extractor() -> None:
    shared = LeoExtractor(tiny())
    assert LeoMethod(tiny(), extractor=shared).extractor is shared
    assert isinstance(LeoMethod(tiny(own_encoder=True), extractor=shared).extractor, OwnEncoderExtractor)
