"""The encoder: from the features of a support set to one code for each class."""

import torch
from torch import Tensor, nn

from model.config import LEOConfig
from model.networks.features import FeatureExtractor


class LEOEncoder(nn.Module):
    """Encodes a support set to one code for each class: features [T,S,F] -> [T,N,L].

    A linear map encodes single examples. A class's code is the mean over its examples, or with `code_ridge` the
    coefficients of ridge regression. With `own_encoder` the attribute `features` is a feature extractor of its own.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.features = FeatureExtractor(config) if config.own_encoder else None
        self.dropout = nn.Dropout(config.dropout)
        self.ridge, self.evenness = config.code_ridge, config.code_evenness
        self.to_code = nn.Linear(config.feature_dim, config.latent_dim, bias=not config.decoder_skip)
        self.salience = nn.Linear(config.latent_dim, 1, bias=False) if config.attention else None
        if self.salience is not None:
            nn.init.zeros_(self.salience.weight)  # equal weights at first: the plain mean

    def encode_examples(self, features: Tensor) -> Tensor:
        """Encode single examples: features [T,S,F] -> codes [T,S,L]."""
        codes: Tensor = self.to_code(self.dropout(features))
        return codes

    def aggregate_by_class(self, codes: Tensor, membership: Tensor) -> Tensor:
        """Combine examples' codes [T,S,L] to class codes [T,N,L] by membership [T,S,N]. Absent classes are 0."""
        if self.ridge is not None:
            return even_out_lengths(ridge_codes(codes, membership, self.ridge), membership, self.evenness)
        share = membership / membership.sum(dim=1, keepdim=True).clamp(min=1)  # [T, S, N], shots may differ
        if self.salience is not None:
            scores = self.salience(codes).masked_fill(membership == 0, -1e9)  # [T, S, N]
            share = scores.softmax(dim=1) * membership  # 0 for an absent class
        return torch.einsum("tsn,tsl->tnl", share, codes)

    def forward(self, features: Tensor, membership: Tensor) -> Tensor:
        """Encode support sets: features [T,S,F], membership [T,S,N] -> class codes [T,N,L]."""
        return self.aggregate_by_class(self.encode_examples(features), membership)


def ridge_codes(codes: Tensor, membership: Tensor, ridge: float) -> Tensor:
    """Ridge regression from examples' codes [T,S,L] to membership [T,S,N] -> coefficients [T,N,L], absent classes 0.

    It is solved in the dual, S x S, because examples are few (Bertinetto et al., 2019, arXiv 1805.08136). Examples
    are weighted so that each class counts the same, whatever its shots. `ridge` is the penalty's strength.
    """
    shots = membership.sum(dim=1, keepdim=True)  # [T, 1, N]
    present = (shots > 0).to(codes.dtype)
    real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
    targets = (membership - present / present.sum(dim=-1, keepdim=True)) * real  # [T, S, N], centred
    mean_shots = shots.sum(dim=-1, keepdim=True) / present.sum(dim=-1, keepdim=True)  # [T, 1, 1]
    strength = ridge * (membership * shots).sum(dim=-1) / mean_shots.squeeze(-1) + 1 - real.squeeze(-1)  # [T, S]
    codes = codes * real
    # `solve` would wait for the device to see whether it failed; the matrix is positive definite, or not finite.
    dual: Tensor = torch.linalg.solve_ex(codes @ codes.mT + torch.diag_embed(strength), targets)[0]  # [T, S, N]
    return dual.mT @ codes


def even_out_lengths(codes: Tensor, membership: Tensor, power: float) -> Tensor:
    """Divide a task's codes [T,N,L] by a power of their typical length, so that similar classes do not get long codes.

    Where classes are similar, ridge regression makes long codes out of small differences and chance. Answers by them
    would be overconfident. The typical length is the root mean square over the task's classes, divided by the cube
    root of the mean shots, because codes of any classes grow with the shots. `membership` [T,S,N].
    """
    if not power:
        return codes
    shots = membership.sum(dim=1)  # [T, N]
    ways = (shots > 0).sum(dim=1)  # [T]
    length = (codes.square().sum(dim=(1, 2)) / ways).clamp(min=1e-12).sqrt()  # [T]
    typical = length / (shots.sum(dim=1) / ways).pow(1 / 3)
    return codes / typical.pow(power).view(-1, 1, 1)
