"""The encoder: support features to one code a class."""

import torch
from torch import Tensor, nn

from model.config import LEOConfig
from model.networks.features import FeatureExtractor


class LEOEncoder(nn.Module):
    """Support features -> one code a class: a linear map, then the mean over the class's examples, or regression.

    With `own_encoder` it has convolution blocks of its own and takes images' features from those.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.features = FeatureExtractor(config) if config.own_encoder else None
        self.dropout = nn.Dropout(config.dropout)
        self.ridge, self.evenness = config.code_ridge, config.code_evenness
        self.to_code = nn.Linear(config.feature_dim, config.latent_dim, bias=not config.decoder_skip)
        self.salience = nn.Linear(config.latent_dim, 1, bias=False) if config.attention else None
        if self.salience is not None:
            nn.init.zeros_(self.salience.weight)  # all examples alike: the plain mean

    def each(self, features: Tensor) -> Tensor:
        """Codes of single examples: [T,S,F] -> [T,S,L]."""
        codes: Tensor = self.to_code(self.dropout(features))
        return codes

    def mean_by_class(self, codes: Tensor, membership: Tensor) -> Tensor:
        """[T,S,L], [T,S,N] (1 where example s is of class n) -> [T,N,L]; absent classes are 0."""
        if self.ridge is not None:
            return evened_codes(ridge_codes(codes, membership, self.ridge), membership, self.evenness)
        share = membership / membership.sum(dim=1, keepdim=True).clamp(min=1)  # [T, S, N], ragged K
        if self.salience is not None:
            scores = self.salience(codes).masked_fill(membership == 0, -1e9)  # [T, S, N]
            share = scores.softmax(dim=1) * membership  # an absent class stays at 0
        return torch.einsum("tsn,tsl->tnl", share, codes)

    def forward(self, features: Tensor, membership: Tensor) -> Tensor:
        """[T,S,F], [T,S,N] -> class codes [T,N,L]."""
        return self.mean_by_class(self.each(features), membership)


def ridge_codes(codes: Tensor, membership: Tensor, ridge: float) -> Tensor:
    """Ridge regression of classes on the codes of examples: [T,S,L], [T,S,N] -> [T,N,L]; absent classes are 0.

    In the dual, since examples are few (Bertinetto et al., 2019). Each class counts the same, whatever its shots.
    """
    shots = membership.sum(dim=1, keepdim=True)  # [T, 1, N]
    present = (shots > 0).to(codes.dtype)
    real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
    targets = (membership - present / present.sum(dim=-1, keepdim=True)) * real  # [T, S, N], their mean taken out
    even = shots.sum(dim=-1, keepdim=True) / present.sum(dim=-1, keepdim=True)  # [T, 1, 1], mean shots
    strength = ridge * (membership * shots).sum(dim=-1) / even.squeeze(-1) + 1 - real.squeeze(-1)  # [T, S]
    codes = codes * real
    dual: Tensor = torch.linalg.solve(codes @ codes.mT + torch.diag_embed(strength), targets)  # [T, S, N]
    return dual.mT @ codes


def evened_codes(codes: Tensor, membership: Tensor, power: float) -> Tensor:
    """Regression's codes [T,N,L] less long where classes are alike: divided by a power of how long they are.

    For such classes it makes long codes of what little tells them apart, and of what is chance; answers by them would
    sound surer than they are. Their size is the root of their mean square length over the cube root of the
    shots, with which the codes of any classes grow. `membership` [T,S,N].
    """
    if not power:
        return codes
    shots = membership.sum(dim=1)  # [T, N]
    ways = (shots > 0).sum(dim=1)  # [T]
    length = (codes.square().sum(dim=(1, 2)) / ways).clamp(min=1e-12).sqrt()  # [T]
    size = length / (shots.sum(dim=1) / ways).pow(1 / 3)
    return codes / size.pow(power).view(-1, 1, 1)
