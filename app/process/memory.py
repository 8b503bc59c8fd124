"""How many worker processes fit into the memory of this machine or container."""

import os

from app.settings import Settings
from model.cgroups import memory_limit

# Measured with the shipped models: what all processes share, and what a worker adds to it under load. Some is left
# over for pictures that are large once decoded.
SHARED_BYTES, WORKER_BYTES = 700 * 2**20, 256 * 2**20


def workers_that_fit(settings: Settings, memory: int | None = None) -> int:
    """The number of workers, at least one, that fit with full caches into so many bytes, by default all there are."""
    free = (_memory() if memory is None else memory) - SHARED_BYTES
    return max(1, free // (WORKER_BYTES + settings.cache_bytes))


def _memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, memory_limit() or machine)
