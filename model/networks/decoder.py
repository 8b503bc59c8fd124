"""The decoder: a class's code to its row of the classifier head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LEOConfig
from model.networks.encoder import LEOEncoder
from model.networks.gaussian import Gaussian


class LEODecoder(nn.Module):
    """One class's code -> that class's row of the head, F weights and a bias: [...,N,L] -> [...,N,F+1]."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        first, second = config.decoder_hidden
        rows = config.feature_dim + 1
        self.fc1 = nn.Linear(config.latent_dim, first)
        self.fc2 = nn.Linear(first, second)
        self.experts = config.decoder_experts
        # Rows come straight from the last layer, or are mixed from the few of a basis.
        self.basis = None if config.decoder_rank is None else nn.Linear(config.decoder_rank, rows, bias=False)
        inner = config.decoder_rank or rows  # R or F+1
        self.fc3 = nn.Linear(second, inner * self.experts)
        self.gate = nn.Linear(config.latent_dim, self.experts) if self.experts > 1 else None
        self.condition = nn.Linear(config.latent_dim, first, bias=False) if config.decoder_conditioned else None
        self.skip = nn.Linear(config.latent_dim, inner, bias=False) if config.decoder_skip else None
        self.log_scale = nn.Parameter(torch.tensor(config.logit_scale).log())
        self.log_variance = nn.Linear(second, rows) if config.stochastic else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        if self.log_variance is not None:  # a standard deviation of 0.01 at first, about a fifth of a weight
            nn.init.zeros_(self.log_variance.weight)
            nn.init.constant_(self.log_variance.bias, -9.0)
        if self.skip is not None:  # the linear path carries the head at first; fc3 learns what it misses
            nn.init.zeros_(self.fc3.weight)
            nn.init.zeros_(self.fc3.bias)

    @property
    def is_plain(self) -> bool:
        """Whether a class's row is a perceptron of its code alone, which has a closed form (`serving.adapt`)."""
        return self.experts == 1 and self.condition is None

    def forward(self, codes: Tensor, present: Tensor | None = None) -> Tensor:
        """`present` [...,N] is 1 for the classes the task has; all of them if it is not given."""
        return self.distribution(codes, present).mean

    def distribution(self, codes: Tensor, present: Tensor | None = None) -> Gaussian:
        """What a stochastic head is drawn from: [...,N,L] -> rows [...,N,F+1]."""
        first = self.fc1(codes)  # [..., N, H1]
        if self.condition is not None:
            present = torch.ones_like(codes[..., 0]) if present is None else present
            share = (present / present.sum(dim=-1, keepdim=True)).unsqueeze(-1)  # [..., N, 1]
            first = first + self.condition((codes * share).sum(dim=-2, keepdim=True))
        hidden = F.relu(self.fc2(F.relu(first)))  # [..., N, H]
        rows: Tensor = self.fc3(hidden)  # [..., N, E (F+1)], or R for F+1
        if self.gate is not None:
            gate = self.gate(codes).softmax(dim=-1).unsqueeze(-1)  # [..., N, E, 1]
            rows = (rows.unflatten(-1, (self.experts, -1)) * gate).sum(dim=-2)  # [..., N, F+1]
        if self.skip is not None:
            rows = rows + self.skip(codes)
        if self.basis is not None:
            rows = self.basis(rows)  # [..., N, F+1]
        scale = self.log_scale.exp()
        if self.log_variance is None:
            return Gaussian(scale * rows, None)
        return Gaussian(scale * rows, self.log_variance(hidden) + 2 * self.log_scale)

    def correlation_penalty(self) -> Tensor:
        """Mean squared correlation between the directions of two latent dimensions (the paper's C_d - I)."""
        penalties = []
        for layer in (self.fc1, self.skip):
            if layer is not None:
                directions = F.normalize(layer.weight, dim=0)  # [out, L]
                correlation = directions.T @ directions  # [L, L]
                penalties.append((correlation - torch.eye(len(correlation), device=correlation.device)).square().mean())
        return torch.stack(penalties).sum()

    def start_as_transpose_of(self, encoder: LEOEncoder) -> None:
        """Make the skip path the encoder's transpose, so a fresh head is the encoded class means."""
        if self.skip is not None:
            path = self.skip.weight if self.basis is None else self.basis.weight[:, : encoder.to_code.out_features]
            with torch.no_grad():
                if self.basis is not None:
                    nn.init.eye_(self.skip.weight)
                path.zero_()
                path[:-1] = encoder.to_code.weight.T
