"""How many cores and how much memory a container, or a service manager, lets this process use (Linux cgroups)."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def core_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The number of cores that the processor time allowed would fill, rounded up; None without a limit."""
    limits = []
    for text in _read("", "cpu.max", root, own):  # "max 100000" or "150000 100000": microseconds in each period
        allowed, _, period = text.partition(" ")
        limits += [_ratio(allowed, period)]
    periods = _read("cpu", "cpu.cfs_period_us", root, own)
    limits += [
        _ratio(allowed, period)
        for allowed, period in zip(_read("cpu", "cpu.cfs_quota_us", root, own), periods, strict=False)
    ]
    found = [limit for limit in limits if limit is not None]
    return max(1, math.ceil(min(found))) if found else None


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The most bytes of memory; None without a limit."""
    texts = [*_read("", "memory.max", root, own), *_read("memory", "memory.limit_in_bytes", root, own)]
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def _ratio(allowed: str, period: str) -> float | None:
    numbers = allowed.isdecimal() and period.isdecimal() and int(period) > 0  # "max" and "-1" are no limit
    return int(allowed) / int(period) if numbers else None


def _read(controller: str, name: str, root: Path, own: Path) -> Iterator[str]:
    """What a file says in the process's own group and in all groups around it.

    `controller` is one of version 1, each of which has a tree of its own, or empty for version 2.
    """
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controller not in controllers.split(","):
            continue
        top = root / controller
        # A container may see its own group as the top one although the path is the one outside.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError):
                yield (folder / name).read_text().strip()
            if folder == top:
                break
