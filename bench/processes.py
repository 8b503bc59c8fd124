"""What a service costs: its process and those it started, taken together."""

import contextlib
import os
from pathlib import Path


def family(process_id: int) -> list[int]:
    """A process and its children, and theirs, as far as they live."""
    found = [process_id]
    for each in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def cpu_seconds(process_id: int) -> float:
    """Processor time from their start."""
    ticks = 0
    for each in family(process_id):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(process_id: int) -> float:
    """MB of memory; what several of them share counts once."""
    kilobytes = 0
    for each in family(process_id):
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(kilobytes / 1024, 1)
