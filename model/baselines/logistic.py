"""A logistic regression on each task's support features, trained to its optimum."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.extractors import LeoExtractor
from model.baselines.method import without_absent

TOLERANCE = 1e-5  # stop when no weight of any task has a larger gradient
MAX_ITERATIONS = 20_000


@dataclass(frozen=True)
class LogisticState:
    """The trained head of each task."""

    heads: Tensor  # [T, N, F+1], the bias is last
    membership: Tensor  # [T, S, N]


class LogisticHead:
    """Multinomial logistic regression. It minimises mean cross-entropy + `l2` / 2 |W|², where W includes the bias.

    Nesterov's method trains all tasks at once. Its step size follows from the curvature and needs no tuning. A task's
    momentum restarts when it points uphill (O'Donoghue and Candès, 2015). The optimum is unique; `adapt` raises
    `RuntimeError` if it is not reached.
    """

    def __init__(self, extractor: LeoExtractor, l2: float, name: str = "logistic head") -> None:
        if l2 <= 0:
            raise ValueError(f"l2={l2}: without regularisation separable classes have no optimum; give l2 above 0")
        self.extractor, self.l2, self.name = extractor, l2, name

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> LogisticState:
        inputs = F.pad(support, (0, 1), value=1.0)  # [T, S, F+1]
        # The optimum lies in the span of the examples. Working there is faster if they are fewer than the features.
        basis, coordinates = torch.linalg.qr(inputs.mT)  # [T, F+1, M], [T, M, S], M the smaller of S and F+1
        inputs = coordinates.mT  # [T, S, M]
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        share = real / real.sum(dim=1, keepdim=True)  # each example's weight in the mean
        # An upper bound: the softmax's curvature is at most 1/2, and the largest eigenvalue at most the trace.
        curvature = 0.5 * (inputs.square() * share).sum(dim=(1, 2)).view(-1, 1, 1) + self.l2  # [T, 1, 1]
        age = torch.zeros_like(curvature)  # steps since each task's momentum restarted
        heads = support.new_zeros(*membership.shape[::2], inputs.shape[-1])  # [T, N, M]
        ahead = heads  # where the gradient is taken: momentum carries it past `heads`
        for _ in range(MAX_ITERATIONS):
            p = without_absent(inputs @ ahead.mT, membership).softmax(dim=-1)  # [T, S, N]
            gradient = ((p * real - membership) * share).mT @ inputs + self.l2 * ahead  # [T, N, M]
            if float(gradient.abs().max()) < TOLERANCE:
                return LogisticState(ahead @ basis.mT, membership)
            stepped = ahead - gradient / curvature
            uphill = (gradient * (stepped - heads)).sum(dim=(1, 2), keepdim=True) > 0
            age = torch.where(uphill, 0, age + 1)
            ahead = stepped + age / (age + 3) * (stepped - heads)
            heads = stepped
        raise RuntimeError(
            f"the logistic head did not converge in {MAX_ITERATIONS} iterations: raise l2 above {self.l2}"
        )

    @torch.no_grad()
    def logits(self, state: LogisticState, queries: Tensor) -> Tensor:
        return without_absent(F.pad(queries, (0, 1), value=1.0) @ state.heads.mT, state.membership)
