"""The `leo` command. Each module here is one command, or what several share; importing it registers the command."""

import errno
import io
import os
import sys

from app.cli import (
    backbones,
    bench,
    calibrate,
    card,
    classify,
    compare,
    evaluate,
    keys,
    low_rank,
    serve,
    task_evaluate,
    task_examples,
    task_files,
    tasks,
    train,
)
from app.cli.common import app, note

__all__ = [
    "app",
    "backbones",
    "bench",
    "calibrate",
    "card",
    "classify",
    "compare",
    "evaluate",
    "keys",
    "low_rank",
    "main",
    "serve",
    "task_evaluate",
    "task_examples",
    "task_files",
    "tasks",
    "train",
]


def main() -> None:
    """Run the `leo` command."""
    if sys.stdout is None:  # it was closed by whoever started this
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every letter of a label or name
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would fail once more when it ends
        note(f"cannot write: {error.strerror}", heading="error: ", style="bold red")
        sys.exit(1)
