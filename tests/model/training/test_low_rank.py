"""Tests of decoders of a lower rank."""

import pytest
import torch

from model.leo import LatentEmbeddingOptimization
from model.training.low_rank import with_low_rank_decoder
from tests.helpers.models import tiny


def model_of_rank(rank: int) -> LatentEmbeddingOptimization:
    """Return a model whose map from hidden layer, code and 1 to the head has this rank."""
    torch.manual_seed(0)
    leo = tiny(decoder_skip=True, resolution=32).eval()  # F = 128
    decoder = leo.decoder
    assert decoder.skip is not None
    wide = decoder.fc3.in_features + decoder.skip.in_features + 1
    whole = torch.randn(decoder.fc3.out_features, rank) @ torch.randn(rank, wide) / rank
    with torch.no_grad():
        decoder.fc3.weight.copy_(whole[:, : decoder.fc3.in_features])
        decoder.skip.weight.copy_(whole[:, decoder.fc3.in_features : -1])
        decoder.fc3.bias.copy_(whole[:, -1])
    return leo


def test_heads_stay_the_same_if_the_map_has_a_lower_rank_already() -> None:
    leo, codes = model_of_rank(35), torch.randn(4, 32)
    ranked = with_low_rank_decoder(leo, 36)
    assert ranked.config.decoder_rank == 36
    assert ranked.decoder.basis is not None
    torch.testing.assert_close(ranked.decoder(codes), leo.decoder(codes), atol=1e-3, rtol=1e-4)
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(ranked.classifier.phi(images), leo.classifier.phi(images))


def test_a_higher_rank_gives_heads_nearer_to_the_models_own() -> None:
    leo, codes = model_of_rank(57), torch.randn(50, 32)
    distances = [
        (with_low_rank_decoder(leo, rank).decoder(codes) - leo.decoder(codes)).norm().item()
        for rank in (32, 40, 48, 56)
    ]
    assert distances == sorted(distances, reverse=True)


def test_other_decoders_and_ranks_are_refused() -> None:
    for leo in (tiny(), tiny(decoder_skip=True, decoder_experts=2), with_low_rank_decoder(model_of_rank(35), 40)):
        with pytest.raises(ValueError, match="only a decoder with a linear path"):
            with_low_rank_decoder(leo, 40)
    for rank in (31, 57):  # the map is [129, 24 + 32 + 1]
        with pytest.raises(ValueError, match="from 32, the length of a code, to 56"):
            with_low_rank_decoder(model_of_rank(35), rank)


def test_a_decoder_with_a_basis_starts_as_the_encoders_transpose_and_learns() -> None:
    torch.manual_seed(0)
    ranked, plain = tiny(decoder_skip=True, decoder_rank=40), tiny(decoder_skip=True)
    plain.encoder.load_state_dict(ranked.encoder.state_dict())
    plain.decoder.start_as_transpose_of(plain.encoder)
    codes = torch.randn(3, 32)
    torch.testing.assert_close(ranked.decoder(codes), plain.decoder(codes))
    ranked.decoder(codes).square().sum().backward()
    grad = ranked.decoder.fc3.weight.grad
    assert grad is not None
    assert grad.any()
