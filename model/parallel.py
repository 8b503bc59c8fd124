"""Data-parallel training: several processes, started by `torchrun`, train one model together.

Every process draws the same random numbers, takes its own share of each step's images, and averages its gradients
with the others'. So all hold the same weights after every step. BatchNorm normalises each process's share alone; its
running statistics are averaged before a model is evaluated or saved. In a single process all of this does nothing.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def join() -> None:
    """Connect to the other processes that torchrun started: by NCCL between GPUs, by gloo between CPUs.

    Each process needs a GPU of its own for NCCL. Where there are fewer, gloo carries a GPU's tensors too, if slower.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group(_backend())


def _backend() -> str:
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available() or torch.cuda.device_count() < on_this_machine:
        return "gloo"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return "cpu:gloo,cuda:nccl"  # by the device of each tensor


def leave() -> None:
    """Wait for all processes and disconnect from them."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is number 0, which alone prints and writes files."""
    return rank() == 0


def share(indices: Tensor) -> Tensor:
    """Select this process's share of indices that all processes drew alike, along the first dimension."""
    return indices[rank() :: size()]


def all_agree(condition: bool) -> bool:
    """Whether the condition holds in every process, so that all take the same branch and none waits for another."""
    if size() == 1:
        return condition
    verdict = torch.tensor(int(condition))
    distributed.all_reduce(verdict, op=distributed.ReduceOp.MIN)
    return bool(verdict)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    average(gradients)


def average_statistics(module: nn.Module) -> None:
    """Replace BatchNorm's running statistics by their means over the processes."""
    average([buffer for buffer in module.buffers() if buffer.is_floating_point()])


def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, all in one exchange."""
    if size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
