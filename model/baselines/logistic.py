"""A logistic head on the features of each task's support set, trained until it no longer changes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.baselines.method import Phi, without_absent

TOLERANCE = 1e-5  # largest gradient left in any weight of any task
MOST_ITERATIONS = 20_000


@dataclass(frozen=True)
class Heads:
    """Heads [T,N,F+1], the bias last, and the support set's membership [T,S,N]."""

    rows: Tensor
    membership: Tensor


class LogisticHead:
    """Multinomial logistic regression: mean cross-entropy + `l2` / 2 |W|², the bias in W like a weight.

    All tasks at once by Nesterov's method, whose steps follow from the problem's curvature and so need no tuning;
    a task's momentum starts anew where it leads uphill (O'Donoghue and Candès, 2015). The optimum is
    unique. Raises `RuntimeError` if it is not reached.
    """

    def __init__(self, extractor: Phi, l2: float, name: str = "logistic head") -> None:
        if l2 <= 0:
            raise ValueError(f"l2={l2}: without regularisation separable classes have no optimum")
        self.extractor, self.l2, self.name = extractor, l2, name

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Heads:
        inputs = F.pad(support, (0, 1), value=1.0)  # [T, S, F+1]
        # The optimum lies in the span of the examples: with fewer of them than features, work there.
        basis, turned = torch.linalg.qr(inputs.mT)  # [T, F+1, M], [T, M, S], M the smaller of S and F+1
        inputs = turned.mT  # [T, S, M]
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        share = real / real.sum(dim=1, keepdim=True)  # each example's part in the mean
        # The softmax's curvature is at most 1/2, and the largest eigenvalue at most the trace.
        steepest = 0.5 * (inputs.square() * share).sum(dim=(1, 2)).view(-1, 1, 1) + self.l2  # [T, 1, 1]
        age = torch.zeros_like(steepest)  # of each task's momentum, in steps
        rows = support.new_zeros(*membership.shape[::2], inputs.shape[-1])  # [T, N, M]
        ahead = rows
        for _ in range(MOST_ITERATIONS):
            p = without_absent(inputs @ ahead.mT, membership).softmax(dim=-1)  # [T, S, N]
            gradient = ((p * real - membership) * share).mT @ inputs + self.l2 * ahead  # [T, N, M]
            if float(gradient.abs().max()) < TOLERANCE:
                return Heads(ahead @ basis.mT, membership)
            stepped = ahead - gradient / steepest
            uphill = (gradient * (stepped - rows)).sum(dim=(1, 2), keepdim=True) > 0
            age = torch.where(uphill, 0, age + 1)
            ahead = stepped + age / (age + 3) * (stepped - rows)
            rows = stepped
        raise RuntimeError(f"the logistic head did not converge in {MOST_ITERATIONS} iterations; raise l2={self.l2}")

    @torch.no_grad()
    def logits(self, state: Heads, queries: Tensor) -> Tensor:
        return without_absent(F.pad(queries, (0, 1), value=1.0) @ state.rows.mT, state.membership)
