"""The decoder: from a class's code to that class's weights and bias in the classifier head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LEOConfig
from model.networks.encoder import LEOEncoder
from model.networks.gaussian import Gaussian


class LEODecoder(nn.Module):
    """Decodes codes to heads, each class by itself: [...,N,L] -> [...,N,F+1], F weights and a bias a class.

    A perceptron with two hidden layers, plus a linear map of the code with `decoder_skip`. With `decoder_rank` both
    give R coefficients of a learned basis of heads.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        first, second = config.decoder_hidden
        width = config.feature_dim + 1
        self.fc1 = nn.Linear(config.latent_dim, first)
        self.fc2 = nn.Linear(first, second)
        self.experts = config.decoder_experts
        self.basis = None if config.decoder_rank is None else nn.Linear(config.decoder_rank, width, bias=False)
        inner = config.decoder_rank or width  # R or F+1
        self.fc3 = nn.Linear(second, inner * self.experts)
        self.gate = nn.Linear(config.latent_dim, self.experts) if self.experts > 1 else None
        self.condition = nn.Linear(config.latent_dim, first, bias=False) if config.decoder_conditioned else None
        self.skip = nn.Linear(config.latent_dim, inner, bias=False) if config.decoder_skip else None
        self.log_scale = nn.Parameter(torch.tensor(config.logit_scale).log())
        self.log_variance = nn.Linear(second, width) if config.stochastic else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        if self.log_variance is not None:  # a standard deviation of 0.01 at first, about a fifth of a typical weight
            nn.init.zeros_(self.log_variance.weight)
            nn.init.constant_(self.log_variance.bias, -9.0)
        if self.skip is not None:  # at first the linear map makes the head alone
            nn.init.zeros_(self.fc3.weight)
            nn.init.zeros_(self.fc3.bias)

    @property
    def is_plain(self) -> bool:
        """Whether a head depends on its class's code by a perceptron alone: `model.serving.adapt` has its gradient."""
        return self.experts == 1 and self.condition is None

    def forward(self, codes: Tensor, present: Tensor | None = None) -> Tensor:
        """Decode codes to mean heads: [...,N,L] -> [...,N,F+1]. `present` [...,N] marks real classes; default: all."""
        return self.distribution(codes, present).mean

    def distribution(self, codes: Tensor, present: Tensor | None = None) -> Gaussian:
        """Decode codes to the distribution of heads: [...,N,L] -> [...,N,F+1]. `present` is as in `forward`."""
        first = self.fc1(codes)  # [..., N, H1]
        if self.condition is not None:
            present = torch.ones_like(codes[..., 0]) if present is None else present
            share = (present / present.sum(dim=-1, keepdim=True)).unsqueeze(-1)  # [..., N, 1]
            first = first + self.condition((codes * share).sum(dim=-2, keepdim=True))
        hidden = F.relu(self.fc2(F.relu(first)))  # [..., N, H]
        heads: Tensor = self.fc3(hidden)  # [..., N, E (F+1)], or R for F+1
        if self.gate is not None:
            gate = self.gate(codes).softmax(dim=-1).unsqueeze(-1)  # [..., N, E, 1]
            heads = (heads.unflatten(-1, (self.experts, -1)) * gate).sum(dim=-2)  # [..., N, F+1]
        if self.skip is not None:
            heads = heads + self.skip(codes)
        if self.basis is not None:
            heads = self.basis(heads)  # [..., N, F+1]
        scale = self.log_scale.exp()
        if self.log_variance is None:
            return Gaussian(scale * heads, None)
        return Gaussian(scale * heads, self.log_variance(hidden) + 2 * self.log_scale)

    def correlation_penalty(self) -> Tensor:
        """Mean squared correlation between the decoder's directions of any two latent dimensions.

        It is the paper's orthogonality term, the mean square of C_d - I, summed over the two maps that take codes.
        """
        penalties = []
        for layer in (self.fc1, self.skip):
            if layer is not None:
                directions = F.normalize(layer.weight, dim=0)  # [out, L]
                correlation = directions.T @ directions  # [L, L]
                penalties.append((correlation - torch.eye(len(correlation), device=correlation.device)).square().mean())
        return torch.stack(penalties).sum()

    def start_as_transpose_of(self, encoder: LEOEncoder) -> None:
        """Set the linear map to the encoder's transpose, so that an untrained head is the encoded class means."""
        if self.skip is not None:
            to_head = self.skip.weight if self.basis is None else self.basis.weight[:, : encoder.to_code.out_features]
            with torch.no_grad():
                if self.basis is not None:
                    nn.init.eye_(self.skip.weight)
                to_head.zero_()
                to_head[:-1] = encoder.to_code.weight.T
