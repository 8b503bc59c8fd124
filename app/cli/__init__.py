"""The `leo` command. Each module here is one command, or what several share; importing it registers the command."""

import io
import os
import sys

NO_MEMORY = "failed to map segment"  # what the loader of libraries says then
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ends, by convention

try:  # to import takes half a second, in which Ctrl-C ends the command as quietly as later
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
    from app.cli.common import app, is_of_output, note
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)

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
    _reopen_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every letter of a label or name
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ImportError as error:
        if NO_MEMORY not in str(error):
            raise
        note(
            f"there is too little memory to load PyTorch: allow 4 GB or more ({error})",
            heading="error: ",
            style="bold red",
        )
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            note(f"{error.filename}: {error.strerror}", heading="error: ", style="bold red")
        elif is_of_output(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would fail once more when it ends
            note(f"cannot write: {error.strerror}", heading="error: ", style="bold red")
        else:
            raise
        sys.exit(1)


def _reopen_closed_streams() -> None:
    """Open the standard streams that are closed at the start, so that no other file takes the place of one.

    Writing to standard output then fails: it holds results, which nobody would get.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, mode), number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the process ends
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
