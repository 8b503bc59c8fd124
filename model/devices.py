"""What the machine can do: which device, how many cores, and whether bfloat16 pays on it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: A thread for each core, for parts of a batch; none is started before it is needed.
WORKERS = ThreadPoolExecutor(CORES, thread_name_prefix="part")


def choose(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` -> a device that is there. Raises `ValueError` saying what to choose instead."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"no device called {name!r}; there are auto, cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("no GPU is usable here; choose the device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; elsewhere it is emulated, ten times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
