"""What `leo classify` and `leo tasks` share: folders of pictures as input, suspects and predictions as output."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.cells import cell_len

from app.cli.common import Format, console, defused, fail, note, printable, warn_of_left_out

if TYPE_CHECKING:
    from leo_client import Prediction
    from model.data.sources import File

#: The exit status if some pictures could not be read, and the others were answered.
LEFT_OUT_STATUS = 3

Item = TypeVar("Item")


def find_support(path: Path, min_classes: int = 2) -> "tuple[list[str], list[File]]":
    """Return the label and file of each example in a folder or zip, and say what is left out of it.

    The names of the folders are the labels; GROUP/CLASS where classes lie in groups.
    """
    from model.data.classes import find_classes
    from model.data.sources import DataError

    try:
        found = find_classes(path)
    except DataError as error:
        fail(error)
    examples = [("/".join(name), file) for name, files in found.named().items() for file in files]
    if len(found.named()) < min_classes:
        left_out = f"; left out: {found.left_out}" if found.left_out else ""
        fail(f"{found.source} needs at least {min_classes} folders with pictures, one for each class{left_out}")
    if found.left_out:
        warn_of_left_out([f"{found.source}: {found.left_out}"])
    return [label for label, _ in examples], [file for _, file in examples]


def find_examples(
    support: Path, negatives: list[Path] | None, min_classes: int = 2
) -> "tuple[list[str], list[File], list[File]]":
    """Return the label and file of each example for a task, and the files of what is none of its classes.

    The latter lie in `negatives`, or in a folder `_negatives` beside the classes.
    """
    from model.data.classes import is_of_negatives

    labels, files = find_support(support, min_classes)
    own = [(label, file) for label, file in zip(labels, files, strict=True) if not is_of_negatives(label)]
    of_none = [file for label, file in zip(labels, files, strict=True) if is_of_negatives(label)]
    if len({label for label, _ in own}) < min_classes:
        fail(f"{support} needs at least {min_classes} folders with pictures, one a class, beside that of negatives")
    if negatives:
        found, all_usable = find_queries(negatives)
        if not all_usable:
            raise typer.Exit(1)  # why is said already
        of_none += found
    return [label for label, _ in own], [file for _, file in own], of_none


def find_queries(paths: list[Path]) -> "tuple[list[File], bool]":
    """Return the pictures that are given, and those in given folders and zips; say what is left out of these.

    Also returned is whether every folder and zip could be used. Files that do not exist are found out when they are
    read, as others are that cannot be read.
    """
    from model.data.classes import find_pictures, open_source
    from model.data.folder import Folder
    from model.data.sources import DataError
    from model.images.formats import SUFFIXES

    found: list[File] = []
    unusable: list[str] = []
    for path in paths:
        if not path.is_dir() and path.suffix.lower() != ".zip":
            found.append(Folder.of_one_file(path))
            continue
        try:
            source = open_source(path)
            pictures = find_pictures(source)
        except DataError as error:
            unusable.append(str(error))
            continue
        left_out = str(source.left_out)
        if not pictures:
            more = f"; left out: {left_out}" if left_out else ""
            unusable.append(f"no pictures in {source}; their names end in {', '.join(SUFFIXES)}{more}")
            continue
        if left_out:
            warn_of_left_out([f"{source}: {left_out}"])
        found += pictures
    if not found:
        fail("; ".join(unusable))
    for reason in unusable:
        note(reason, heading="left out: ", style="yellow")
    return found, not unusable


def chunks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Split a sequence into lists of `size` items; the last may be shorter."""
    for at in range(0, len(items), size):
        yield list(items[at : at + size])


@contextmanager
def counting(pictures: int) -> Iterator[Callable[[int], None]]:
    """Show how many pictures are done and the time left, while answers go to a file or a pipe and errors to a terminal.

    On a terminal the answers themselves show how far it is. Gives a function that is told of pictures that are done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal or sys.stdout.isatty()
    with Progress(*columns, console=console, disable=hidden, redirect_stdout=False, transient=True) as bar:
        task = bar.add_task("", total=pictures)
        yield lambda done: bar.advance(task, done)


def warn_of_suspect(file: "File", looks_like: str) -> None:
    """Say that an example may be mislabelled."""
    note(f"{file} looks more like {looks_like}", heading="worth a look: ", style="yellow")


def one_line(text: str) -> str:
    """Text as a cell: its control characters and ends of lines written out."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


class Answers:
    """Prints predictions to standard output as they are found, as a context manager."""

    def __init__(self, form: Format, *, several: bool) -> None:
        """Choose the format; `several` is whether answers name more than one class."""
        self._form, self._several = form, several
        self._columns = ["file", "label", "confidence", "unknown", "known"]
        self._widths: list[int] | None = None
        self._printed = 0

    def __enter__(self) -> "Answers":
        if self._form is Format.CSV:
            csv.writer(sys.stdout, lineterminator="\n").writerow(self._columns)
        return self

    def __exit__(self, *_: object) -> None:
        if self._form is Format.JSON:
            typer.echo("\n]" if self._printed else "[]")

    def write(self, files: "Sequence[File]", predictions: "Sequence[Prediction]") -> None:
        """Print one prediction for each file."""
        if self._form is Format.TABLE:
            self._write_rows(files, predictions)
        else:
            for file, prediction in zip(files, predictions, strict=True):
                self._write_answer(file, prediction)
        sys.stdout.flush()

    def _write_answer(self, file: "File", prediction: "Prediction") -> None:
        answer = {
            "file": str(file),
            "label": prediction.label,
            "confidence": round(prediction.confidence, 6),
            "unknown": prediction.unknown,
            "known": None if prediction.known is None else round(prediction.known, 6),
        }
        if self._form is Format.CSV:
            answer["label"] = one_line(prediction.label)
            csv.writer(sys.stdout, lineterminator="\n").writerow(map(defused, answer.values()))
            return
        top = [{"label": score.label, "confidence": round(score.confidence, 6)} for score in prediction.top_k]
        indented = json.dumps([answer | {"top": top}], indent=2, ensure_ascii=False)[1:-2]
        typer.echo(("," if self._printed else "[") + indented, nl=False)
        self._printed += 1

    def _write_rows(self, files: "Sequence[File]", predictions: "Sequence[Prediction]") -> None:
        """Print lines of a table. The first pictures decide how wide its columns are."""
        rows = [["picture", "class", "confidence, %", "known, %", "next"]] if self._widths is None else []
        for file, prediction in zip(files, predictions, strict=True):
            label = f"none of these ({prediction.label}?)" if prediction.unknown else prediction.label
            others = ", ".join(f"{score.label} {100 * score.confidence:.1f}" for score in prediction.top_k[1:])
            known = "-" if prediction.known is None else f"{100 * prediction.known:.1f}"
            cells = [str(file), label, f"{100 * prediction.confidence:.1f}", known, others]
            rows.append([one_line(cell) for cell in cells])
        if self._widths is None:
            self._widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = row if self._several else row[:-1]
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=False))
            typer.echo("  ".join(padded).rstrip())
