"""Training by several processes, one a GPU or a core, as `torchrun` starts them. Alone, all of this does nothing.

Every process draws the same random numbers, works on its own share of each step's images and averages the
gradients, so all hold the same weights at every step. BatchNorm sees each process's share; its running
statistics are averaged before anything is measured or saved.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def join() -> None:
    """Meet the other processes that torchrun started, over NCCL between GPUs and gloo otherwise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(backend)


def leave() -> None:
    """End what `join` began, when all are done."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that speaks and writes files."""
    return rank() == 0


def share(indices: Tensor) -> Tensor:
    """This process's part of what all drew alike, along the first dimension; never empty if there is enough."""
    return indices[rank() :: size()]


def all_agree(condition: bool) -> bool:
    """Whether the condition holds in every process: none may go a way of its own between two meetings."""
    if size() == 1:
        return condition
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    verdict = torch.tensor(int(condition), device=device)
    distributed.all_reduce(verdict, op=distributed.ReduceOp.MIN)
    return bool(verdict)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one exchange."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    average(gradients)


def average_statistics(module: nn.Module) -> None:
    """The same for BatchNorm's running statistics."""
    average([buffer for buffer in module.buffers() if buffer.is_floating_point()])


def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    if size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
