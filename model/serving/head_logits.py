"""Queries answered from their tasks' codes, without writing the tasks' heads."""

from collections.abc import Callable

import torch
from torch import Tensor

from model.serving.adapt import Adapter
from model.serving.onnx_export import logits_to_onnx
from model.serving.onnx_runtime import session


def head_logits(adapter: Adapter, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """`Adapter.logits` in its fastest form on the device; like it for a plain decoder only.

    On a CPU ONNX Runtime does it in half the time: phi ran in it a moment before, so its code is in the caches,
    and it keeps the matrices in the order in which it reads them.
    """
    if device.type != "cpu" or not adapter.leo.decoder.is_plain:
        return adapter.logits
    run = session(logits_to_onnx(adapter)).run

    def logits(features: Tensor, codes: Tensor) -> Tensor:
        (found,) = run(None, {"features": features.numpy(), "codes": codes.numpy()})
        return torch.from_numpy(found)

    return logits
