"""Gaussian distributions with independent dimensions, for codes and decoded heads."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian with independent dimensions. `log_variance` is None for a deterministic value, the mean."""

    mean: Tensor
    log_variance: Tensor | None

    def sample(self) -> Tensor:
        """Draw a sample by the reparametrisation trick, so that gradients reach mean and variance."""
        if self.log_variance is None:
            return self.mean
        return self.mean + torch.randn_like(self.mean) * (0.5 * self.log_variance).exp()

    def kl_to_standard(self) -> Tensor:
        """KL(self || N(0, 1)), summed over the last dimension (Kingma and Welling, 2014, appendix B).

        Raises `ValueError` for a deterministic value.
        """
        if self.log_variance is None:
            raise ValueError("a deterministic value has no KL divergence; set stochastic=True in the config")
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(dim=-1)
