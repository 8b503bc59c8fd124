"""MAML, Meta-SGD and ANIL: methods whose inner loop changes the network's weights, where LEO's changes codes.

One class serves all three, since they differ in two points only: which weights the inner loop changes, and whether
step sizes are learned for each tensor or for each weight.

|          | inner loop changes | step sizes                            |
|----------|--------------------|---------------------------------------|
| MAML     | phi and the head   | learned for each tensor, as in MAML++ |
| Meta-SGD | phi and the head   | learned for each weight               |
| ANIL     | the head           | learned for each tensor               |

MAML: Finn et al., 2017; Meta-SGD: Li et al., 2017; ANIL: Raghu et al., 2020; MAML++: Antoniou et al., 2019.

The head starts from one learned row that all classes share. So the same weights serve any number of ways, and the
order of classes does not matter (Ye and Chao, 2022). BatchNorm uses the statistics stored in phi, in meta-training
too, so that a task's adaptation depends on that task alone.

Logits are scale * (x . w) + b. The bias is outside the scale and has its own step size. Every example moves it in the
same direction, so with the weights' step size, multiplied by the squared scale, it would overshoot at every step and
the support loss would rise.
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
#: Initial values of the learned step sizes. The head starts at zero and has far to go; phi is trained already.
HEAD_RATE, PHI_RATE = 0.3, 0.001
TASKS_AT_ONCE = 8  # on a GPU; more take too much memory: under vmap, every task has its own weights and activations

FastWeights = dict[str, Tensor]  # the weights that the inner loop changes, by name; [T, ...] outside of vmap


class GradientBased(nn.Module):
    """A model whose inner loop is theta <- theta - alpha * grad CE(support), with learned initial theta and alpha.

    It starts with a copy of the LEO's phi.
    """

    def __init__(self, leo: LatentEmbeddingOptimization, kind: Kind, steps: int = 5) -> None:
        super().__init__()
        self.name, self.kind, self.steps = kind, kind, steps
        self.phi = deepcopy(leo.classifier.phi).eval().requires_grad_(True)
        self.weight = nn.Parameter(
            torch.zeros(leo.config.feature_dim)
        )  # initial row of the head, shared by all classes
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
        """Set the mode of every part but phi, which stays in evaluation mode: BatchNorm uses stored statistics."""
        super().train(mode)
        self.phi.eval()
        return self

    def extractor(self, images: Tensor) -> Tensor:
        """Extract features for ANIL. MAML and Meta-SGD change phi for each task, so for them return the images."""
        if self.kind != "ANIL":
            return images
        features: Tensor = self.phi(images.flatten(0, -4))
        return features.reshape(*images.shape[:-3], -1)

    def adapt(self, support: Tensor, membership: Tensor) -> tuple[FastWeights, Tensor]:
        """Run the inner loop, differentiable in all parameters: [T,S,...], [T,S,N] -> fast weights and membership."""
        # Under no_grad, in evaluation, torch.func still differentiates the inner loop but builds no outer graph.
        fast: FastWeights = vmap(self._adapt_one, chunk_size=_tasks_at_once(support))(support, membership)
        return fast, membership

    def logits(self, state: tuple[FastWeights, Tensor], queries: Tensor) -> Tensor:
        """Classify extracted queries [T,Q,...] -> logits [T,Q,N]."""
        fast, membership = state
        logits: Tensor = vmap(self._logits_one, chunk_size=_tasks_at_once(queries))(fast, queries)
        return without_absent(logits, membership)

    def _adapt_one(self, support: Tensor, membership: Tensor) -> FastWeights:
        """Run the inner loop of one task: [S,...] and [S,N] -> its fast weights."""

        def loss(fast: FastWeights) -> Tensor:
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

    def _logits_one(self, fast: FastWeights, extracted: Tensor) -> Tensor:
        """Apply one task's fast weights: what the extractor returned [B,...] -> logits [B,N]."""
        if self.kind != "ANIL":
            weights = {name.removeprefix("phi."): value for name, value in fast.items() if name.startswith("phi.")}
            extracted = functional_call(self.phi, weights, (extracted,))  # [B, F]
        return self.log_scale.exp() * F.linear(extracted, fast["weight"]) + fast["bias"]


def _tasks_at_once(extracted: Tensor) -> int:
    """How many tasks vmap computes together, by the device of what the extractor returned.

    On a CPU one: together their convolutions, each with weights of its own, have gradients that take twice as long.
    """
    return 1 if extracted.device.type == "cpu" else TASKS_AT_ONCE
