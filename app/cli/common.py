"""What every command shares: the Typer app, output to the terminal and to JSON files, and lists of numbers."""

import csv
import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from app import __version__

# Importing torch takes seconds. Commands import it, and all that needs it, when they run: `leo --help` is instant.

app = typer.Typer(
    name="leo",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Few-shot classifiers in milliseconds: Latent Embedding Optimization, trained and served."""


NO_LIMIT = 100_000  # characters, the width of what is piped
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula in a cell


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


# Characters that move the cursor, colour, reorder or end text, and halves of characters, which no terminal can print.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with its control characters written out, so that a file's or a task's name commands no terminal."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class PlainConsole(Console):
    """A console that prints text as it is. Names and paths may hold [brackets], which rich reads as markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show what is being done; a `str` would be read as markup even here."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)


console = PlainConsole(stderr=True)  # standard output is for results


def note(message: object, *, heading: str = "", style: str = "") -> None:
    """Print a line to standard error. It is not wrapped, so that pipes get one line and paths can be copied."""
    console.print(Text.assemble((heading, style), printable(str(message))), soft_wrap=True)


def fail(message: object) -> NoReturn:
    """Print one line that says what is wrong, and exit with status 1."""
    note(message, heading="error: ", style="bold red")
    raise typer.Exit(1)


def is_of_output(error: Exception) -> bool:
    """Whether what is printed could not be written: the disk is full, nobody reads it, or it is closed."""
    unwritable = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE)
    return isinstance(error, OSError) and error.filename is None and error.errno in unwritable


def warn_of_left_out(lines: Iterable[str]) -> None:
    """Say what was not read of folders and zips, and why: a line for each."""
    for line in lines:
        note(line, heading="left out of ", style="yellow")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, text_columns: int = 1
) -> None:
    """Print a table to standard output: `text_columns` columns of text, then numbers, which are aligned right."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index < text_columns else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column == "id")  # ids are copied
    for row in rows:
        table.add_row(*map(printable, row))
    # A file or a pipe has no width: nothing is wrapped, so that ids stay whole.
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "0") != "0" else NO_LIMIT
    PlainConsole(width=width).print(table)


def print_rows(
    form: Format,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    text_columns: int = 1,
) -> None:
    """Print rows as a table, as a JSON list of objects, or as CSV; None is a value that is not there."""
    if form is Format.TABLE:
        shown = [["" if value is None else str(value) for value in row] for row in rows]
        print_table(columns, shown, title=title, text_columns=text_columns)
    elif form is Format.JSON:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2, ensure_ascii=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([defused(value) for value in row] for row in rows)


def defused(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: names of tasks, files and labels may come from anybody."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def numbers(given: list[str], option: str) -> list[int]:
    """Read whole numbers, separated by commas or in several values: ["5,20", "100"] -> [5, 20, 100]."""
    try:
        return [int(number) for text in given for number in text.split(",")]
    except ValueError:
        fail(f"--{option} {' '.join(given)}: give whole numbers, as in --{option} 5,20")


def ranges(given: list[str], option: str) -> list[tuple[int, int]]:
    """Read whole numbers or ranges of them: ["5,1-5"] -> [(5, 5), (1, 5)]."""
    pairs = []
    for text in (part for several in given for part in several.split(",")):
        low, dash, high = text.partition("-")
        try:
            pairs.append((int(low), int(high if dash else low)))
        except ValueError:
            fail(f"--{option} {text}: give whole numbers or ranges, as in --{option} 1,5,1-5")
    return pairs
