"""Logits of queries from a task's codes, without decoding the task's head."""

from collections.abc import Callable

import torch
from torch import Tensor

from model.onnx_runtime import session
from model.serving.adapt import Adapter
from model.serving.onnx_export import logits_to_onnx


def head_logits(adapter: Adapter, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the fastest function on the device that computes `Adapter.logits`: features [Q,F], codes [N,L] -> [Q,N].

    Like `Adapter.logits` it is for a plain decoder only. On a CPU ONNX Runtime takes half of PyTorch's time: phi has
    just run in it, so its code is in the caches, and it stores matrices in the order it reads them.
    """
    if device.type != "cpu" or not adapter.leo.decoder.is_plain:
        return adapter.logits
    run = session(logits_to_onnx(adapter)).run

    def logits(features: Tensor, codes: Tensor) -> Tensor:
        (result,) = run(None, {"features": features.numpy(), "codes": codes.numpy()})
        return torch.from_numpy(result)

    return logits
