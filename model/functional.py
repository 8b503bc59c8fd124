"""Functions on a batch of tasks: which class examples belong to, logits from heads, the loss, the spread of codes."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, ways: int | None = None) -> Tensor:
    """Labels [T,S] in 0..N-1, -1 for padding -> membership [T,S,N]: 1 where example s is of class n, else 0.

    N is `ways`, or one more than the highest label. Raises `ValueError` for labels outside -1..N-1.
    """
    highest, lowest = int(labels.max()), int(labels.min())
    ways = highest + 1 if ways is None else ways
    if lowest < -1 or highest >= ways:
        raise ValueError(f"labels must lie in 0..{ways - 1} (-1 for padding), found {lowest}..{highest}")
    classes = torch.arange(ways, device=labels.device)
    return (labels.unsqueeze(-1) == classes).to(torch.get_default_dtype())


def present(membership: Tensor) -> Tensor:
    """Mark the classes that each task has: membership [T,S,N] -> [T,N], 1 for a class with examples, else 0."""
    return (membership.sum(dim=1) > 0).to(membership.dtype)


def apply_head(heads: Tensor, features: Tensor, membership: Tensor) -> Tensor:
    """Apply heads [T,N,F+1], weights and bias, to features [T,B,F] -> logits [T,B,N], -inf for absent classes."""
    logits = torch.einsum("tbf,tnf->tbn", features, heads[..., :-1]) + heads[..., -1].unsqueeze(1)
    return logits.masked_fill(present(membership).unsqueeze(1) == 0, -torch.inf)


def cross_entropy(logits: Tensor, membership: Tensor) -> Tensor:
    """Mean cross-entropy of each task: logits [T,S,N], membership [T,S,N] -> [T]. Padding does not count."""
    # An absent class's log-probability is -inf, and 0 * -inf is NaN: select instead of multiplying.
    log_p = logits.log_softmax(dim=-1)
    own = torch.where(membership > 0, log_p, torch.zeros_like(log_p)).sum(dim=-1)  # [T, S]
    examples = membership.sum(dim=(1, 2)).clamp(min=1)  # [T]
    return -own.sum(dim=1) / examples


def code_spread(codes: Tensor) -> Tensor:
    """Relative spread of class codes: [T,N,L] -> scalar, the mean of |z - mean z| / |z|, the inner mean over a task.

    It is 0 where all codes of a task have collapsed to one point.
    """
    distance = torch.linalg.vector_norm(codes - codes.mean(dim=1, keepdim=True), dim=-1)  # [T, N]
    relative: Tensor = distance / torch.linalg.vector_norm(codes, dim=-1).clamp(min=1e-12)
    return relative.mean()
