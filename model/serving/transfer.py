"""Many arrays to a device in one copy, and many tensors back in one: each copy costs a wait, however small it is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64  # bytes; no number crosses a boundary that matters to any device


def to_device(parts: Sequence[Sequence[NDArray[Any]]], device: torch.device) -> list[Tensor]:
    """Copy arrays to the device, and return one tensor for each part: its arrays one after another.

    Arrays of a part may differ in their first dimension only. The host does not wait for the copy to a GPU: it is made
    from pinned memory, which PyTorch reuses once the copy has ended.
    """
    shapes = [(sum(len(array) for array in part), *part[0].shape[1:]) for part in parts]
    sizes = [part[0].itemsize * int(np.prod(shape)) for part, shape in zip(parts, shapes, strict=True)]
    offsets = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
    block = torch.empty(offsets[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
    host = block.numpy()
    for part, shape, size, offset in zip(parts, shapes, sizes, offsets[:-1], strict=True):
        np.concatenate(part, out=host[offset : offset + size].view(part[0].dtype).reshape(shape))
    block = block.to(device, non_blocking=True)
    return [
        block[offset : offset + size].view(torch.from_numpy(np.empty(0, part[0].dtype)).dtype).view(shape)
        for part, shape, size, offset in zip(parts, shapes, sizes, offsets[:-1], strict=True)
    ]


def to_host(tensors: Sequence[Tensor]) -> Callable[[], list[NDArray[Any]]]:
    """Start to copy tensors of one device to the host, and return a function that waits for their arrays.

    The arrays are views of one block: copy what is kept, so that it does not keep the rest.
    """
    flat = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    shapes, dtypes = [tensor.shape for tensor in tensors], [tensor.dtype for tensor in tensors]
    sizes = [len(one) for one in flat]
    block = torch.cat(flat) if flat else torch.empty(0, dtype=torch.uint8)
    copied: torch.cuda.Event | None = None
    if block.device.type == "cuda":
        stream = torch.cuda.current_stream(block.device)
        block = torch.empty(len(block), dtype=torch.uint8, pin_memory=True).copy_(block, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(stream)

    def arrays() -> list[NDArray[Any]]:
        if copied is not None:
            copied.synchronize()
        parts = block.split(sizes)
        return [
            np.frombuffer(part.numpy(), dtype=torch.empty(0, dtype=dtype).numpy().dtype).reshape(shape)
            for part, dtype, shape in zip(parts, dtypes, shapes, strict=True)
        ]

    return arrays
