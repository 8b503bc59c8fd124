"""Room on the disk that is kept for deletions: SQLite writes them to its log too, which a full disk does not take."""

import contextlib
import os
import time
from pathlib import Path

RESERVE_BYTES = 2**23  # for some sixty deletions, or to bring what the log holds of new pages into the database
FILL_EVERY = 60.0  # seconds between tries to take the room again


class Reserve:
    """A file of nothing, which is emptied when the disk is full and somebody deletes a task."""

    def __init__(self, path: Path) -> None:
        """Fill the file, if the disk has room for it."""
        self._path = path
        self._fill_at = 0.0  # by the monotonic clock
        self._is_spent = True
        self.fill()

    def spend(self) -> None:
        """Give the room to whatever writes next."""
        with contextlib.suppress(OSError):
            os.truncate(self._path, 0)
        self._is_spent = True

    def fill_now_and_then(self) -> None:
        """Take the room again if it was spent, once a minute."""
        if self._is_spent and time.monotonic() >= self._fill_at:
            self.fill()

    def fill(self) -> None:
        """Take the room again, if there is as much."""
        self._fill_at = time.monotonic() + FILL_EVERY
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            except OSError:
                os.ftruncate(file.fileno(), 0)
                raise
            self._is_spent = False
