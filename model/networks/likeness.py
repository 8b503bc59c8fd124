"""How alike a task's classes look, and the codes of classes that look alike drawn together.

Where the examples of different classes are alike, the inner loop tells them apart by small differences, which queries
show less surely. So the answers of such tasks must be less certain. A temperature for all tasks cannot do that.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 0.2  # by which the cosine must rise for the distances between codes to halve; chosen on sources left out
LEAST_RISE = -SCALE / 2  # where classes are less alike than unrelated ones: distances at most double


def cosine_between_classes(encoded: Tensor, membership: Tensor) -> Tensor:
    """The mean cosine between examples of different classes: encoded examples [T,S,L], membership [T,S,N] -> [T].

    It is 0 where a task has but one class.
    """
    by_class = membership.mT @ F.normalize(encoded, dim=-1)  # [T, N, L], the sum of each class's directions
    shots = membership.sum(dim=1)  # [T, N]
    between: Tensor = by_class.sum(dim=1).square().sum(dim=-1) - by_class.square().sum(dim=(1, 2))  # [T]
    pairs = shots.sum(dim=1).square() - shots.square().sum(dim=1)
    return between / pairs.clamp(min=1)


def draw_together(codes: Tensor, encoded: Tensor, membership: Tensor, unrelated: float) -> Tensor:
    """Draw codes [T,N,L] to their mean, the more the more alike the encoded examples [T,S,L] of their classes are.

    The mean itself stays, and so do the codes where examples of different classes have the cosine `unrelated`.
    `membership` [T,S,N]. Logits that are linear in the codes get closer together as the codes do.
    """
    rise = (cosine_between_classes(encoded, membership) - unrelated).clamp(min=LEAST_RISE)  # [T]
    present = (membership.sum(dim=1) > 0).to(codes.dtype).unsqueeze(-1)  # [T, N, 1]
    mean = (codes * present).sum(dim=1, keepdim=True) / present.sum(dim=1, keepdim=True)  # [T, 1, L]
    return torch.lerp(mean, codes, (1 / (1 + rise / SCALE)).view(-1, 1, 1))
