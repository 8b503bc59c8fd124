"""The curvature of a support set, by which the inner loop can divide its gradients, as Newton's method does."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curvature:
    """The second moments of encoded examples plus a ridge, X'X + r I of [L,L].

    For logits that are linear in the codes, the cross-entropy of S examples curves at most half as much as X'X
    (Böhning, 1992). Plain gradient steps are slow where examples are alike: what tells them apart curves least.

    The smaller of two matrices is inverted: that of [L,L] itself, or its dual, X X' + r I of [S,S].
    """

    inverse: Tensor  # [T, S, S] or [T, L, L]
    encoded: Tensor  # X [T, S, L], padding 0
    ridge: float  # r
    examples: Tensor  # [T, 1, 1], how many are real

    @classmethod
    def of(cls, encoded: Tensor, membership: Tensor, ridge: float) -> "Curvature":
        """Compute it from encoded examples [T,S,L] and membership [T,S,N]."""
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        encoded = encoded * real
        examples, width = encoded.shape[1:]
        moments = encoded @ encoded.mT if examples <= width else encoded.mT @ encoded
        even = ridge * torch.eye(min(examples, width), dtype=encoded.dtype, device=encoded.device)
        # `inv` would wait for the device to see whether it failed; the matrix is positive definite, or not finite.
        inverse: Tensor = torch.linalg.inv_ex(moments + even)[0]
        return cls(inverse, encoded, ridge, real.sum(dim=1, keepdim=True))

    def divide(self, gradient: Tensor) -> Tensor:
        """Divide the gradient by codes [T,N,L] of a mean over the examples: [T,N,L]."""
        examples, width = self.encoded.shape[1:]
        if examples > width:
            return self.examples * gradient @ self.inverse
        along = gradient @ self.encoded.mT @ self.inverse  # [T, N, S]
        return self.examples * (gradient - along @ self.encoded) / self.ridge  # Woodbury's identity
