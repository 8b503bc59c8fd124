"""Independent normal distributions, of codes and of decoded heads."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Independent normals; `log_variance` is None where the config asks for plain numbers."""

    mean: Tensor
    log_variance: Tensor | None

    def draw(self) -> Tensor:
        """A sample by the reparametrisation trick: gradients reach mean and variance."""
        if self.log_variance is None:
            return self.mean
        return self.mean + torch.randn_like(self.mean) * (0.5 * self.log_variance).exp()

    def kl_to_standard(self) -> Tensor:
        """KL(self || N(0, 1)), summed over the last dimension (Kingma and Welling 2014, appendix B)."""
        if self.log_variance is None:
            raise ValueError("plain numbers have no divergence; set stochastic=True")
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(dim=-1)
