"""`leo` that notes, in the file named by `CUDA_WATCH`, which process asks PyTorch anything about CUDA."""

import os
from collections.abc import Callable
from typing import Any

import torch


def noting(asked: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments: Any, **options: Any) -> Any:
        with open(os.environ["CUDA_WATCH"], "a") as notes:
            notes.write(f"{os.getpid()} {asked.__name__}\n")
        return asked(*arguments, **options)

    return noted


if __name__ == "__main__":
    for module, names in (
        (torch.cuda, ("is_available", "device_count", "init", "_lazy_init", "current_device", "empty_cache")),
        (torch._C, ("_cuda_getDeviceCount", "_cuda_init")),
    ):
        for name in names:
            if hasattr(module, name):  # a PyTorch without CUDA lacks some
                setattr(module, name, noting(getattr(module, name)))
    from app.cli import main

    main()
