"""What callers give, checked before it is used: keys, ids, labels, names and seconds."""

import re
from urllib.parse import quote

from leo_client.errors import BadSettings

LONGEST_WAIT = 10**6  # seconds; the system cannot wait for times that are far longer
VISIBLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")  # what an HTTP header may hold, in ASCII


def header_value(value: str, name: str) -> str:
    """Return a value that is sent as a header. Raises `BadSettings`, which does not show it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not VISIBLE.fullmatch(value):
        what = "a line break" if re.search("[\r\n]", value) else "a space at an end"
        if not value:
            what = "nothing"
        elif not value.isascii():
            what = "a character that is not ASCII, such as a long dash"
        elif re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", value):
            what = "a control character"
        raise BadSettings(f"{name} holds {what}; copy it again, or strip() what was read from a file")
    return value


def seconds(value: float, name: str) -> float:
    """Return seconds to wait. Raises `TypeError`, or `BadSettings` for what is no such number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be seconds, None or an httpx.Timeout, not {type(value).__name__}")
    if not 0 < value <= LONGEST_WAIT:
        raise BadSettings(f"{name} is {value}: give seconds above 0 and up to {LONGEST_WAIT}, or None for no limit")
    return value


def text(value: str, name: str) -> str:
    """Return text that UTF-8 can write.

    Raises:
        TypeError: it is no `str`.
        ValueError: it holds half of a character, as names of files do that are not UTF-8.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} {value!r} holds half of a character ({value[error.start]!r}), which UTF-8 cannot write: "
            "replace it, for example by value.encode(errors='replace').decode()"
        ) from None
    return value


def path_of(task_id: str) -> str:
    """Return the path of a task's URL. Raises `TypeError` or `ValueError` for what is no id."""
    if text(task_id, "the task id") in ("", ".", ".."):
        raise ValueError(f"{task_id!r} is no task id: give the `task_id` of a task")
    return f"/tasks/{quote(task_id, safe='')}"
