"""The files in which workers count, so that neither a full disk nor a cleaned folder ends a worker."""

import contextlib
import fcntl
import logging
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

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

    @property
    def is_in_file(self) -> bool:
        """Whether others can read all that is counted here."""
        return self._f is not None

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


@contextlib.contextmanager
def unmoved(folder: Path, how: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Keep counts from moving from file to file meanwhile: a reader would find them twice, or not at all."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def keep_counts_of(process_id: int) -> None:
    """Move the counts of a process that has ended to a file for all such processes. Its gauges go.

    Where that fails, as on a full disk or while somebody reads, they stay in the process's own files, and count too.
    """
    mark_process_dead(process_id)  # type: ignore[no-untyped-call]
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    try:
        with unmoved(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):  # a reader that hangs holds up nobody
            for kind in ("counter", "histogram"):
                own = folder / f"{kind}_{process_id}.db"
                if own.exists():
                    _add(own, folder / f"{kind}_ended.db")
    except (OSError, ValueError, RuntimeError, struct.error) as error:  # the last three of damaged files
        log.warning("the files in which process %d counted stay: %s", process_id, error)


def _add(own: Path, total: Path) -> None:
    """Add the counts in a file to those in another one, and remove the first."""
    fresh = total.with_suffix(".new")  # which readers do not look at
    fresh.unlink(missing_ok=True)
    with contextlib.closing(ReservedCounts(str(fresh))) as sums:
        for file in filter(Path.exists, (total, own)):
            for key, value, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                sums.write_value(key, sums.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
        if sums.is_in_file:
            fresh.replace(total)
            own.unlink()
        else:
            fresh.unlink(missing_ok=True)
