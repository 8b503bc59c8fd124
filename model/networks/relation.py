"""The relation network: it changes each class's code by the codes of the task's other classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LEOConfig
from model.networks.gaussian import Gaussian


class LEORelationNetwork(nn.Module):
    """Relates every class code to all codes of its task: z_n = mean over m of R(c_n, c_m), m = n included.

    R is a perceptron with one hidden layer. With `relation_residual`, z_n is added to c_n; R then starts at 0.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        size = config.latent_dim
        self.residual = config.relation_residual
        self.steps = config.relation_steps
        width = config.relation_width or size
        self.hidden = nn.Linear(2 * size, width)
        self.out = nn.Linear(width, size)
        self.out_log_variance = nn.Linear(width, size) if config.stochastic else None
        if self.residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
        if self.out_log_variance is not None:  # a small standard deviation at first: 0.05
            nn.init.zeros_(self.out_log_variance.weight)
            nn.init.constant_(self.out_log_variance.bias, -6.0)

    def forward(self, codes: Tensor, present: Tensor) -> Gaussian:
        """Relate codes of classes or examples: [T,M,L], `present` [T,M] (1 for real, 0 for padding) -> [T,M,L]."""
        share = present / present.sum(dim=-1, keepdim=True)  # [T, M]
        log_variance = None
        for _ in range(self.steps):
            # A linear map of a concatenated pair is the sum of two maps of L: 2M products instead of M².
            weight_n, weight_m = self.hidden.weight.chunk(2, dim=1)
            of_n = F.linear(codes, weight_n, self.hidden.bias).unsqueeze(2)  # [T, M, 1, W]
            of_m = F.linear(codes, weight_m).unsqueeze(1)  # [T, 1, M, W]
            # The last layer is linear, so the mean over m may be taken before it.
            mean = torch.einsum("tnml,tm->tnl", F.relu(of_n + of_m), share)  # [T, M, W]
            relations: Tensor = self.out(mean)  # [T, M, L]
            codes = codes + relations if self.residual else relations
            log_variance = None if self.out_log_variance is None else self.out_log_variance(mean)
        return Gaussian(codes, log_variance)
