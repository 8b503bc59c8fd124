"""How much nearer a picture is to a task's negatives than to its classes, which lowers `known`.

Models for photos have codes that are encoded pictures: a class's code is the mean of its encoded examples, moved by the
inner loop. The steps move the classes' codes apart and leave their mean where it was, the mean of all examples. From
there a straight line leads to each class and to each negative, and a picture has gone some way along each of them. What
all pictures of the task share is in the mean already, so this tells as much where classes and negatives look alike. A
picture's lead is how far it has gone to a negative, less `SHARE` of how far it has gone to its best class; the whole
way to the negative is 1. Up to `free` it keeps its score, and from there on it loses `LOSS` a unit.

The numbers were chosen on validation classes of sources left out, see `bench.negatives`. Other models have no
such codes, see `model.serving.task_background`: their negatives join the background, see `model.background`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SHARE = 0.5
FREE = 0.15
FREE_FOR_ONE_EXAMPLE = 0.4  # the mean of few examples is off the way of other pictures of their classes
FREE_FOR_MORE = 0.06  # by the logarithm of their number, for of many negatives some is near by chance
LOSS = 12.0
LEAST_LENGTH = 1e-3  # of a line, so that dividing by it is safe


def free(examples: float, negatives: int) -> float:
    """The lead that costs nothing in a task of so many examples in all, and so many negatives."""
    return FREE + FREE_FOR_ONE_EXAMPLE / examples + FREE_FOR_MORE * math.log(max(1, negatives))


@dataclass(frozen=True, eq=False)
class Lines:
    """Heads whose logits are how far pictures have gone along the lines to a task's N classes and M negatives."""

    heads: NDArray[np.float32]  # [N+M, F+1]
    lengths: NDArray[np.float32]  # [M], of the lines to the negatives
    free: float

    @classmethod
    def of_task(
        cls, heads: NDArray[np.float32], codes: NDArray[np.float32], ways: int, examples: float, scale: float
    ) -> "Lines":
        """From heads [N+M,F+1] and codes [N+M,L] of the task's N `ways`, then of its negatives.

        `examples` is how many its classes have in all, `scale` what `code_scale` of `task_background` gives.
        """
        start, lengths = _starts(codes, ways)
        to_each = (heads - heads[:ways].mean(axis=0)) / (np.float32(scale) * lengths[:, None])
        to_each[:, -1] -= start
        return cls(to_each, lengths[ways:], free(examples, len(codes) - ways))

    def losses(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What pictures with features [Q,F] lose of their scores, [Q]."""
        return _losses(features @ self.heads[:, :-1].T + self.heads[:, -1], self.lengths, self.free)


def losses_of_logits(
    logits: NDArray[np.float32], codes: NDArray[np.float32], ways: int, examples: float, scale: float
) -> NDArray[np.float32]:
    """What pictures lose of their scores, [Q], from logits [Q,N+M] by the task's classes and negatives.

    The other arguments are as above. A number that all logits of a picture have in common changes nothing.
    """
    start, lengths = _starts(codes, ways)
    beyond = logits - logits[:, :ways].mean(axis=1, keepdims=True)
    return _losses(beyond / (np.float32(scale) * lengths) - start, lengths[ways:], free(examples, len(codes) - ways))


def _losses(gone: NDArray[np.float32], lengths: NDArray[np.float32], free: float) -> NDArray[np.float32]:
    ways = gone.shape[1] - len(lengths)
    leads = (gone[:, ways:] - np.float32(SHARE) * gone[:, :ways].max(axis=1, keepdims=True)) / lengths  # [Q, M]
    losses: NDArray[np.float32] = np.float32(LOSS) * np.maximum(leads.max(axis=1) - np.float32(free), 0)
    return losses


def _starts(codes: NDArray[np.float32], ways: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the lines begin, seen along each of them, and how long they are: [N+M] each."""
    mean = codes[:ways].mean(axis=0)
    along = codes - mean
    lengths = np.maximum(np.linalg.norm(along, axis=1), np.float32(LEAST_LENGTH))
    return along @ mean / lengths, lengths


def stacked_losses(
    logits: Tensor, codes: Tensor, present: Tensor, owner: Tensor, free: Tensor, scale: Tensor
) -> Tensor:
    """What images lose of their scores, [Q], for T tasks at once; 0 in tasks without negatives.

    Logits [Q,N] by all that an image's task has, codes [T,N,L], `present` [T,N] as `model.serving.stacked.Queries` has
    it, each image's task `owner` [Q], and the lead that is `free` in each task [T].
    """
    is_class, is_negative = present > 0, present < 0
    share = is_class / is_class.sum(dim=-1, keepdim=True).clamp(min=1)  # [T, N]
    mean = share.unsqueeze(1) @ codes  # [T, 1, L]
    along = codes - mean
    lengths = along.norm(dim=-1).clamp(min=LEAST_LENGTH)  # [T, N]
    start = (along * mean).sum(dim=-1) / lengths
    beyond = logits - (logits * share[owner]).sum(dim=-1, keepdim=True)  # [Q, N]
    gone = beyond / (scale * lengths)[owner] - start[owner]
    to_best = gone.masked_fill(~is_class[owner], -np.inf).amax(dim=-1, keepdim=True)
    leads = (gone - SHARE * to_best) / lengths[owner]
    lead = leads.masked_fill(~is_negative[owner], -np.inf).amax(dim=-1)
    losses: Tensor = LOSS * (lead - free[owner]).clamp(min=0)
    return losses
