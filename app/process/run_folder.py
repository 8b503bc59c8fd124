"""The folder in which a running service has its metrics and sockets. Those that killed services left are removed."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "leo-run-"
LOCK = "run-folder.lock"  # in the folder; held as long as a process of its service lives. No data folder has one


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Make the folder of this service, and remove it at the end."""
    _remove_those_of_dead_services()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, (Path(name) / "making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(lock.name, Path(name) / LOCK)  # only now others look at it, and find it held
        yield Path(name)


def _remove_those_of_dead_services() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):  # it is another user's, or is being removed by another service
            found = path.parent.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _remove_unless_held(path)


def _remove_unless_held(lock: Path) -> None:
    """Raises `OSError` if the lock is held."""
    file = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.parent, ignore_errors=True)
    finally:
        os.close(file)
