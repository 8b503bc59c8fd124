"""What `leo classify` and `leo tasks` share: folders of pictures as input, suspects and predictions as output."""

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import fail, note, print_table

if TYPE_CHECKING:
    from app.client import Prediction


class Format(StrEnum):
    """How predictions are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Support = Annotated[Path, typer.Argument(help="Folder that holds one folder of pictures for each class.")]
Queries = Annotated[list[Path], typer.Argument(help="Pictures to classify, or folders of them.", metavar="QUERY...")]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="An answer with a lower confidence is unknown.")]
Top = Annotated[int, typer.Option(min=1, help="How many classes to name for each picture, likeliest first.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answers.")]


def find_support(folder: Path, min_classes: int = 2) -> tuple[list[str], list[Path]]:
    """Return the label and file of each example. The names of the folders are the labels."""
    from model.images.formats import SUFFIXES

    if not folder.is_dir():
        fail(f"no folder at {folder}: give one that holds a folder of pictures for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [(path.name, file) for path in classes for file in _pictures_in(path)]
    if len({label for label, _ in found}) < min_classes:
        fail(
            f"{folder} needs at least {min_classes} folders with pictures, one for each class; "
            f"pictures end in {', '.join(SUFFIXES)}"
        )
    return [label for label, _ in found], [file for _, file in found]


def find_queries(paths: list[Path]) -> list[Path]:
    """Return the pictures, and those in the folders."""
    from model.images.formats import SUFFIXES

    found: list[Path] = []
    for path in paths:
        if not path.exists():
            fail(f"no picture or folder at {path}")
        pictures = _pictures_in(path) if path.is_dir() else [path]
        if not pictures:
            fail(f"no pictures in {path}; their names end in {', '.join(SUFFIXES)}")
        found += pictures
    return found


def _pictures_in(folder: Path) -> list[Path]:
    from model.images.formats import SUFFIXES

    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def warn_of_suspect(file: Path, looks_like: str) -> None:
    """Say that an example may be mislabelled."""
    note(f"{file} looks more like {looks_like}", heading="worth a look: ", style="yellow")


def print_predictions(files: list[Path], predictions: "list[Prediction]", form: Format) -> None:
    """Print one prediction for each file to standard output."""
    if form is Format.TABLE:
        _print_as_table(files, predictions)
        return
    answers = [
        {
            "file": str(file),
            "label": prediction.label,
            "confidence": round(prediction.confidence, 6),
            "unknown": prediction.unknown,
            "top": [{"label": score.label, "confidence": round(score.confidence, 6)} for score in prediction.top_k],
        }
        for file, prediction in zip(files, predictions, strict=True)
    ]
    if form is Format.JSON:
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    columns = ("file", "label", "confidence", "unknown")
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(answers)


def _print_as_table(files: list[Path], predictions: "list[Prediction]") -> None:
    several = len(predictions[0].top_k) > 1
    rows = []
    for file, prediction in zip(files, predictions, strict=True):
        label = f"none of these ({prediction.label}?)" if prediction.unknown else prediction.label
        others = ", ".join(f"{score.label} {100 * score.confidence:.1f}" for score in prediction.top_k[1:])
        rows.append((str(file), label, f"{100 * prediction.confidence:.1f}", *([others] if several else [])))
    columns = ("picture", "class", "confidence, %", *(["next"] if several else []))
    print_table(columns, rows, text_columns=len(columns))
