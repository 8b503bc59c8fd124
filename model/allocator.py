"""glibc returns large freed blocks to the system and faults them in again, page by page, at the next
allocation. A network's activations are just such blocks: keeping them made training 1.4 times as fast."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT = 2**31 - 1  # bytes at the top of the heap that may stay unused; mallopt takes an int


def keep_freed_memory() -> None:
    """Make this process's allocator reuse freed memory. Does nothing where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl, say
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
