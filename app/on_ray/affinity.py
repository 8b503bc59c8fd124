"""Which requests want the same replica."""

import re

TASK = re.compile(r"/tasks/(?!import$)([^/]+)")


def task_of(path: str) -> str | None:
    """The task that a request's path names, or None: such a request may go anywhere."""
    found = TASK.match(path)
    return found.group(1) if found else None
