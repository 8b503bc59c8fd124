"""One service at a time uses a data folder: another would not hear of tasks that this one changes or deletes."""

import contextlib
import errno
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from app.store.errors import StoreUnavailable

log = logging.getLogger(__name__)

LOCK = "service.lock"
PATIENCE = 5.0  # seconds for an earlier service's processes to end, if it was killed
TRY_EVERY = 0.05  # seconds


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which processes forked meanwhile hold too. Raises `StoreUnavailable` if it is taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise StoreUnavailable(
            f"cannot use the task store in {folder}: {error.strerror}. The service must be able to write there; or set "
            "LEO_DATA_DIR"
        ) from error
    with file:
        until = time.monotonic() + PATIENCE
        while not _lock(file.fileno()):
            if time.monotonic() > until:
                raise StoreUnavailable(
                    f"another service runs on the tasks in {folder}: stop that, or set LEO_DATA_DIR to another folder; "
                    "several services share tasks by LEO_STORE_URL only"
                )
            time.sleep(TRY_EVERY)
        yield


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now, or the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        log.warning("the file system has no locks: make sure that no other service uses LEO_DATA_DIR")
    return True
