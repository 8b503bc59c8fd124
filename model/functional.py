"""Functions of a batch of tasks: membership of examples in classes, heads on features, losses."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, ways: int | None = None) -> Tensor:
    """Labels [T,S] in 0..N-1 (-1: padding) -> membership [T,S,N] of 0 and 1.

    Raises `ValueError` for labels below -1, or not under `ways`.
    """
    highest, lowest = int(labels.max()), int(labels.min())
    ways = highest + 1 if ways is None else ways
    if lowest < -1 or highest >= ways:
        raise ValueError(f"labels must lie in 0..{ways - 1} (-1 for padding), found {lowest}..{highest}")
    classes = torch.arange(ways, device=labels.device)
    return (labels.unsqueeze(-1) == classes).to(torch.get_default_dtype())


def present(membership: Tensor) -> Tensor:
    """Which classes each task has: membership [T,S,N] -> [T,N] of 0 and 1."""
    return (membership.sum(dim=1) > 0).to(membership.dtype)


def apply_head(rows: Tensor, features: Tensor, membership: Tensor) -> Tensor:
    """Heads [T,N,F+1] on features [T,B,F] -> logits [T,B,N]; -inf for absent classes."""
    logits = torch.einsum("tbf,tnf->tbn", features, rows[..., :-1]) + rows[..., -1].unsqueeze(1)
    return logits.masked_fill(present(membership).unsqueeze(1) == 0, -torch.inf)


def cross_entropy(logits: Tensor, membership: Tensor) -> Tensor:
    """Mean over each task's real examples of -log p(own class): [T,S,N], [T,S,N] -> [T]."""
    # Where membership is 0 the log-probability may be -inf: select, do not multiply.
    log_p = logits.log_softmax(dim=-1)
    own = torch.where(membership > 0, log_p, torch.zeros_like(log_p)).sum(dim=-1)  # [T, S]
    examples = membership.sum(dim=(1, 2)).clamp(min=1)  # [T]
    return -own.sum(dim=1) / examples


def code_spread(codes: Tensor) -> Tensor:
    """How far a task's class codes lie apart, relative to their length: 0 when all have collapsed.

    Codes [T,N,L] -> scalar: mean over tasks of |z - mean z| / |z|.
    """
    apart = torch.linalg.vector_norm(codes - codes.mean(dim=1, keepdim=True), dim=-1)  # [T, N]
    relative: Tensor = apart / torch.linalg.vector_norm(codes, dim=-1).clamp(min=1e-12)
    return relative.mean()
