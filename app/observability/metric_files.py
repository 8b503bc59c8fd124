"""The files in which workers count, so that neither a full disk nor a cleaned folder ends a worker."""

import logging
import mmap
import os
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger(__name__)

FILE_BYTES = 2**16  # at first; a file doubles when it is full


class ReservedCounts(MmapedDict):
    """Counts in a file whose room on the disk is reserved before it is used.

    prometheus_client makes files with holes and writes to them as to memory. Where the disk has no room for a page the
    system ends the process (SIGBUS). Where no room can be reserved, and where no file can be made, counts stay in the
    memory of this process, and the page of metrics lacks them.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            Path(filename).parent.mkdir(exist_ok=True)  # somebody may have cleaned it away
            with open(filename, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        except OSError as error:
            log.error("metrics of this process are not counted: %s: %s", filename, error.strerror)
            Path(filename).unlink(missing_ok=True)  # one without room would be read as a damaged one
            self._f = None  # type: ignore[assignment]
            self._fname, self._capacity, self._used = filename, FILE_BYTES, 8
            self._m, self._positions = mmap.mmap(-1, FILE_BYTES), dict[str, int]()

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + 32 > self._capacity:  # 32: the most that is kept beside a key
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self) -> None:
        capacity = 2 * self._capacity
        try:
            if self._f is None:
                raise OSError
            os.posix_fallocate(self._f.fileno(), 0, capacity)
            grown = mmap.mmap(self._f.fileno(), capacity)
        except OSError:
            log.error("further metrics of this process are not counted: there is no room for %s", self._fname)
            grown = mmap.mmap(-1, capacity)
            grown[: self._capacity] = self._m[:]
            if self._f is not None:
                self._f.close()
                self._f = None  # type: ignore[assignment]
        self._m, self._capacity = grown, capacity
