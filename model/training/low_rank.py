"""A trained decoder's last layer brought to a lower rank: the same answers, with less to read for each task."""

import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization


def with_low_rank_decoder(leo: LatentEmbeddingOptimization, rank: int) -> LatentEmbeddingOptimization:
    """The model whose map from [hidden;code;1] to the head, [F+1,H+L+1], is the nearest one of rank R.

    By Eckart and Young (1936): its first R singular values and vectors, the left ones as the basis of heads. Raises
    `ValueError` where the decoder has no such map, has it already, or the rank is none of a lower one.
    """
    decoder = leo.decoder
    if not decoder.is_plain or decoder.skip is None or decoder.basis is not None or leo.config.stochastic:
        raise ValueError("only a decoder with a linear path, and without experts, basis or randomness, can be narrowed")
    hidden, length = decoder.fc3.in_features, leo.config.latent_dim
    whole = torch.cat([decoder.fc3.weight, decoder.skip.weight, decoder.fc3.bias.unsqueeze(1)], dim=1)
    most = min(whole.shape) - 1
    if not length <= rank <= most:
        raise ValueError(f"the rank must be from {length}, the length of a code, to {most}, under the layer's own")
    ranked = LatentEmbeddingOptimization(
        config=type(leo.config).model_validate(leo.config.model_dump() | {"decoder_rank": rank})
    )
    left, sizes, right = torch.linalg.svd(whole.detach().double(), full_matrices=False)
    mixed = sizes[:rank, None] * right[:rank]  # [R, H+L+1]
    state: dict[str, Tensor] = leo.state_dict()
    state |= {
        "decoder.basis.weight": left[:, :rank].float().contiguous(),
        "decoder.fc3.weight": mixed[:, :hidden].float().contiguous(),
        "decoder.skip.weight": mixed[:, hidden:-1].float().contiguous(),
        "decoder.fc3.bias": mixed[:, -1].float().contiguous(),
    }
    ranked.load_state_dict(state)
    return ranked.eval()
