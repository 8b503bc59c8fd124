"""MAML, Meta-SGD and ANIL: gradient steps on the network's own weights, where LEO's are on codes.

One class for the three, since they differ in two words only: which weights the inner loop changes,
and whether each tensor or each single number has a learned step size.

|          | inner loop changes | step sizes                        |
|----------|--------------------|-----------------------------------|
| MAML     | phi and the head   | one for each tensor, as in MAML++ |
| Meta-SGD | phi and the head   | one for each number               |
| ANIL     | the head           | one for each tensor               |

Finn et al. 2017; Li et al. 2017; Raghu et al. 2020; MAML++: Antoniou et al. 2019. The head's learned
start is one row for all classes, so that any number of ways runs on the same weights and the
order of classes does not matter (Ye and Chao, 2022). BatchNorm uses the statistics stored in phi, in
meta-training too: a task's adaptation then depends on that task alone.

Logits are scale * (x . w) + b. The bias stands outside the scale and has a step size of its own: every
example pushes it the same way, so with the weights' step size, and the scale's square on top,
it overshoots from step to step and the support loss rises.
"""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from model.baselines.method import without_absent
from model.functional import cross_entropy
from model.leo import LatentEmbeddingOptimization

Kind = Literal["MAML", "Meta-SGD", "ANIL"]
KINDS: tuple[Kind, ...] = ("MAML", "Meta-SGD", "ANIL")
#: Where the learned step sizes start. The head starts at nothing and has far to go; phi is trained.
HEAD_RATE, PHI_RATE = 0.3, 0.001
TASKS_AT_ONCE = 8  # under vmap, every task has weights and activations of its own

Fast = dict[str, Tensor]  # what the inner loop changes, by name; with a leading T outside of vmap


class GradientBased(nn.Module):
    """theta <- theta - alpha * grad CE(support), five times, with learned start and alpha."""

    def __init__(self, leo: LatentEmbeddingOptimization, kind: Kind, steps: int = 5) -> None:
        super().__init__()
        self.name, self.kind, self.steps = kind, kind, steps
        self.phi = deepcopy(leo.classifier.phi).eval().requires_grad_(True)
        self.weight = nn.Parameter(torch.zeros(leo.config.feature_dim))  # of the head, the same for any class
        self.bias = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(torch.tensor(leo.config.logit_scale).log())
        fast = {"weight": self.weight, "bias": self.bias}
        if kind != "ANIL":
            fast |= {f"phi.{name}": value for name, value in self.phi.named_parameters()}
        self.log_rates = nn.ParameterDict()
        for name, value in fast.items():
            shape = value.shape if kind == "Meta-SGD" else ()
            start = torch.full(shape, PHI_RATE if name.startswith("phi.") else HEAD_RATE)
            self.log_rates[name.replace(".", "/")] = nn.Parameter(start.log().to(value))

    def train(self, mode: bool = True) -> "GradientBased":
        """As every module's, but phi keeps to its stored statistics."""
        super().train(mode)
        self.phi.eval()
        return self

    def extractor(self, images: Tensor) -> Tensor:
        """ANIL's phi is the same for all tasks; the others need the pictures themselves."""
        if self.kind != "ANIL":
            return images
        features: Tensor = self.phi(images.flatten(0, -4))
        return features.reshape(*images.shape[:-3], -1)

    def adapt(self, support: Tensor, membership: Tensor) -> tuple[Fast, Tensor]:
        """[T,S,...], [T,S,N] -> each task's own weights and its membership. Differentiable in all meta-weights."""
        # Under no_grad (evaluation) torch.func still differentiates the inner loop, but keeps no outer graph.
        fast: Fast = vmap(self._adapt_one, chunk_size=TASKS_AT_ONCE)(support, membership)
        return fast, membership

    def logits(self, state: tuple[Fast, Tensor], queries: Tensor) -> Tensor:
        """[T,Q,...] -> [T,Q,N]."""
        fast, membership = state
        logits: Tensor = vmap(self._logits_one, chunk_size=TASKS_AT_ONCE)(fast, queries)
        return without_absent(logits, membership)

    def _adapt_one(self, support: Tensor, membership: Tensor) -> Fast:
        """One task, [S,...], [S,N] -> its weights after the last step."""

        def loss(fast: Fast) -> Tensor:
            logits = without_absent(self._logits_one(fast, support).unsqueeze(0), membership.unsqueeze(0))
            return cross_entropy(logits, membership.unsqueeze(0)).squeeze(0)

        ways = membership.shape[-1]
        fast = {"weight": self.weight.expand(ways, -1), "bias": self.bias.expand(ways)}  # [N, F], [N]
        if self.kind != "ANIL":
            fast |= {f"phi.{name}": value for name, value in self.phi.named_parameters()}
        rates = {name.replace("/", "."): value.exp() for name, value in self.log_rates.items()}
        for _ in range(self.steps):
            gradients = grad(loss)(fast)
            fast = {name: value - rates[name] * gradients[name] for name, value in fast.items()}
        return fast

    def _logits_one(self, fast: Fast, seen: Tensor) -> Tensor:
        """One task's weights on what the extractor saw, [B,...] -> [B,N]."""
        if self.kind != "ANIL":
            weights = {name.removeprefix("phi."): value for name, value in fast.items() if name.startswith("phi.")}
            seen = functional_call(self.phi, weights, (seen,))  # [B, F]
        return self.log_scale.exp() * F.linear(seen, fast["weight"]) + fast["bias"]
