"""What every child process of the service does first."""

import contextlib
import ctypes
import multiprocessing
import os
import signal

#: What the parent passes on; a child must not get it before it has replaced the parent's handlers.
FORWARDED_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent() -> bool:
    """Be killed when the parent ends, since nobody could stop this process then; False if it has ended already."""
    parent = multiprocessing.parent_process()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return parent is not None and os.getppid() == parent.pid
