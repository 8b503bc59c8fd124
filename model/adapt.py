"""Adaptation of many ragged tasks in one inner loop, for serving: padded, run, and cut apart again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization, one_hot


@dataclass(frozen=True)
class Support:
    """One task's support set as features: `features` and `encoder_features` [S,F], `labels` [S]."""

    features: Tensor
    encoder_features: Tensor
    labels: Tensor  # int64, 0..N-1, every class named at least once


@dataclass(frozen=True)
class AdaptedTask:
    """What came of one task, on the device of the features."""

    codes: Tensor  # [N, L]
    weight: Tensor  # [N, F]
    bias: Tensor  # [N]
    losses: list[float]  # before the first step and after each
    support_accuracy: float

    @property
    def is_finite(self) -> bool:
        return bool(self.codes.isfinite().all() and self.weight.isfinite().all() and self.bias.isfinite().all())


@torch.no_grad()
def adapt_tasks(
    leo: LatentEmbeddingOptimization, tasks: list[Support], inner_steps: int | None = None
) -> list[AdaptedTask]:
    """Adapt tasks of any ways and shots together; each comes out as it would alone."""
    most_support = max(len(task.labels) for task in tasks)
    ways = [int(task.labels.max()) + 1 for task in tasks]
    features = torch.stack([_padded(task.features, most_support) for task in tasks])  # [T, S, F]
    encoder_features = features
    if leo.encoder.features is not None:
        encoder_features = torch.stack([_padded(task.encoder_features, most_support) for task in tasks])
    labels = torch.stack([_padded(task.labels, most_support, -1) for task in tasks])  # [T, S]
    membership = one_hot(labels, max(ways))  # [T, S, N]
    adapted = leo.adapt(leo.encode(encoder_features, membership), features, membership, inner_steps)
    params = leo.decode_to_params(adapted.codes)
    hits = (adapted.logits.argmax(dim=-1) == labels).float().sum(dim=1)  # [T]; padding never hits
    losses = adapted.losses.tolist()
    return [
        AdaptedTask(
            codes=adapted.codes[t, :n],
            weight=params["fc.weight"][t, :n].clone(),  # a view would keep the whole batch alive
            bias=params["fc.bias"][t, :n].clone(),
            losses=losses[t],
            support_accuracy=float(hits[t]) / len(task.labels),
        )
        for t, (n, task) in enumerate(zip(ways, tasks, strict=True))
    ]


def _padded(values: Tensor, length: int, fill: float = 0) -> Tensor:
    missing = length - len(values)
    return values if missing == 0 else torch.cat([values, values.new_full((missing, *values.shape[1:]), fill)])
