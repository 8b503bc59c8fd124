"""One step of the outer loop: clip all gradients together, and skip and explain a step that is not finite."""

import torch
from torch import Tensor, nn

from model import parallel

#: Training ends after this many skipped steps in a row: so many are no accident.
MAX_SKIPPED_IN_A_ROW = 20


class TrainingDiverged(RuntimeError):
    """Loss or gradients were not finite `MAX_SKIPPED_IN_A_ROW` times in a row; the message names the likely cause."""


def clip_and_step(loss: Tensor, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> str | None:
    """Clip the gradients of all the optimizer's parameters to one common norm, and step.

    Returns None, or the name of what was not finite, `loss` or `gradient`. No weight has changed then. Processes
    that train together average their gradients first, and all step or all skip.
    """
    optimizer.zero_grad(set_to_none=True)
    if not parallel.all_agree(bool(torch.isfinite(loss))):
        return "loss"
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    parallel.average_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not torch.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        return "gradient"
    optimizer.step()
    return None


def likely_cause(leo: nn.Module, inner_lr: float, optimizer: torch.optim.Optimizer, images: tuple[Tensor, ...]) -> str:
    """Say why steps of a LEO are not finite, as far as images, weights and alpha tell, and what to change.

    `inner_lr` is where alpha started.
    """
    if not all(bool(part.isfinite().all()) for part in images):
        return "the images contain NaN or infinity; check the data"
    parameters = dict(leo.named_parameters())
    broken = [name for name, p in parameters.items() if not p.isfinite().all()]
    if broken:
        return f"weights are already non-finite ({broken[0]}); start from an earlier checkpoint"
    alpha = float(parameters["alpha"].detach().abs().max())
    if alpha > 100 * max(inner_lr, 0.1):
        return f"alpha has grown to {alpha:.3g}; lower inner_lr or outer_lr"
    rate = optimizer.param_groups[0]["lr"]
    return f"the steps are likely too large; lower the learning rate (now {rate:.3g})"
