"""A lower rank for the last layer of a trained decoder: nearly the same heads, decoded faster from fewer weights."""

import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization


def with_low_rank_decoder(leo: LatentEmbeddingOptimization, rank: int) -> LatentEmbeddingOptimization:
    """Return a model whose decoder's last layer has rank R: the nearest map to the layer's own.

    The layer maps [hidden;code;1] to a head, [F+1,H+L+1]. The nearest map of rank R consists of its first R singular
    values and vectors (Eckart and Young, 1936). The left vectors become the decoder's basis of heads.

    Raises `ValueError` if the decoder has another form or has a basis already, or if the rank is not a lower one.
    """
    decoder = leo.decoder
    if not decoder.is_plain or decoder.skip is None or decoder.basis is not None or leo.config.stochastic:
        raise ValueError(
            "only a decoder with a linear path (decoder_skip) and without experts, basis or randomness can be reduced"
        )
    hidden, code_length = decoder.fc3.in_features, leo.config.latent_dim
    whole = torch.cat([decoder.fc3.weight, decoder.skip.weight, decoder.fc3.bias.unsqueeze(1)], dim=1)
    most = min(whole.shape) - 1
    if not code_length <= rank <= most:
        raise ValueError(
            f"rank {rank}: give one from {code_length}, the length of a code, to {most}, the highest below full rank"
        )
    ranked = LatentEmbeddingOptimization(
        config=type(leo.config).model_validate(leo.config.model_dump() | {"decoder_rank": rank})
    )
    left, singular_values, right = torch.linalg.svd(whole.detach().double(), full_matrices=False)
    scaled = singular_values[:rank, None] * right[:rank]  # [R, H+L+1]
    state: dict[str, Tensor] = leo.state_dict()
    state |= {
        "decoder.basis.weight": left[:, :rank].float().contiguous(),
        "decoder.fc3.weight": scaled[:, :hidden].float().contiguous(),
        "decoder.skip.weight": scaled[:, hidden:-1].float().contiguous(),
        "decoder.fc3.bias": scaled[:, -1].float().contiguous(),
    }
    ranked.load_state_dict(state)
    return ranked.to(whole.device).eval()
