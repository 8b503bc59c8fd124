"""Logits from codes are those of the decoded head."""

import pytest
import torch

from model.serving.adapt import Adapter
from model.serving.head_logits import head_logits
from tests.helpers.models import tiny


@pytest.mark.parametrize("choice", [{}, {"decoder_skip": True}, {"decoder_skip": True, "decoder_rank": 40}], ids=str)
def test_answers_from_codes_are_those_of_the_heads_they_decode_to(choice: dict[str, object]) -> None:
    torch.manual_seed(0)
    leo = tiny(**choice).eval()
    for parameter in leo.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features = torch.nn.functional.normalize(torch.randn(7, leo.config.feature_dim), dim=-1)
    codes = torch.randn(3, leo.config.latent_dim)
    adapter = Adapter(leo)
    with torch.inference_mode():
        rows = leo.decoder(codes)
        expected = (features @ rows[:, :-1].T + rows[:, -1]).softmax(dim=-1)
        for way in (adapter.logits, head_logits(adapter, torch.device("cpu"))):
            torch.testing.assert_close(way(features, codes).softmax(dim=-1), expected, atol=1e-5, rtol=1e-4)
        one = head_logits(adapter, torch.device("cpu"))(features[:1], codes).softmax(dim=-1)
    torch.testing.assert_close(one, expected[:1], atol=1e-5, rtol=1e-4)
