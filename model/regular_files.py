"""Reads files that somebody named: a pipe that nobody writes to, or a device without an end, must not be waited for."""

import os
import stat
from pathlib import Path


def read_regular(path: str | Path, most: int) -> bytes:
    """Read a file of at most so many bytes. Raises `OSError` at once for a folder, pipe or device, or a larger file."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for its other end
    with open(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError("it is not a file but a folder, pipe or device")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"it is larger than {most >> 20} MiB" if most >= 2**20 else f"it is larger than {most} bytes")
    return data
