"""The `leo` command. Each module here is one command, or what several share; importing it registers the command."""

import io
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
from app.cli.common import app

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every letter of a label or name
            stream.reconfigure(errors="backslashreplace")
    app()
