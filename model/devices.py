"""What this machine can do: which device it has, how many cores, and which number formats it multiplies fast."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from model.cgroups import core_limit

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Cores that this process may use: those of the machine, unless a container or `taskset` allows fewer.
CORES = min(_cores, core_limit() or _cores)
#: One thread for each core, to split a batch over. Threads start when they are first needed.
THREAD_POOL = ThreadPoolExecutor(CORES, thread_name_prefix="part")

CPUINFO = Path("/proc/cpuinfo")
#: Any of these flags means 8-bit dot products: AVX-512 VNNI and AVX VNNI on x86, the dot product extension on ARM.
INT8_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "asimddp"}


def choose(name: str) -> torch.device:
    """Turn the name `auto`, `cpu`, `cuda` or `cuda:1` into a device of this machine. Of several the first is taken.

    Raises `ValueError`, saying what to choose instead, for another name or a GPU that is not there.
    """
    first = name.split(",")[0].strip()
    if first not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", first):
        raise ValueError(f"no device called {name!r}; choose auto, cpu, cuda or cuda:1")
    found = torch.cuda.device_count() if first != "cpu" and torch.cuda.is_available() else 0
    if first == "cpu" or (first == "auto" and not found):
        return torch.device("cpu")
    number = int(first.partition(":")[2] or 0)
    if not found:
        raise ValueError("no GPU is usable here; choose the device cpu or auto")
    if number >= found:
        raise ValueError(f"there is no GPU cuda:{number} here, the last is cuda:{found - 1}; choose that or cpu")
    return torch.device("cuda", number)


def use_one_thread() -> None:
    """Let PyTorch and numpy's linear algebra compute in the calling thread alone, in this process from now on.

    What they do beside phi is small. Waking threads for it costs more than they save, and where each core has a process
    of its own their threads drive each other from the cores: OpenBLAS, which splits products of 32 rows and more, took
    half of the predictions a second of omniglot-105.
    """
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Emulated, it is ten times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_flags())


def int8_is_fast() -> bool:
    """Whether the CPU has 8-bit dot products.

    Without them quantised convolutions gain nothing, and on x86 their 16-bit sums overflow, so that they compute
    something else. Where `/proc/cpuinfo` is missing the answer is no.
    """
    return not INT8_DOT_PRODUCTS.isdisjoint(cpu_flags())


def cpu_flags() -> set[str]:
    """Features of the CPU as Linux names them; empty where `/proc/cpuinfo` is missing."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    named = (line.partition(":") for line in lines)
    return {flag for name, _, flags in named if name.strip() in ("flags", "Features") for flag in flags.split()}
