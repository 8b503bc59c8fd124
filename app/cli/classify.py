"""`leo classify`."""

import csv
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.common import DEFAULT_WEIGHTS, Weights, app, console, fail, find_device, load_leo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.images.reader import Reader

Queries = Annotated[list[Path], typer.Argument(help="Pictures to classify, or folders of them.", metavar="QUERY...")]
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Form(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def classify(
    support: Annotated[Path, typer.Argument(help="Folder with one folder of pictures for each class.")],
    queries: Annotated[
        list[Path], typer.Argument(help="Pictures to classify, or folders of them.", metavar="QUERY...")
    ],
    model: Weights = DEFAULT_WEIGHTS,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Under this confidence: unknown.")] = 0.0,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 1,
    form: Annotated[Form, typer.Option("--format", help="How to print the answers.")] = Form.TABLE,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Classify pictures by a folder of examples, without a server.

    SUPPORT/CLASS/PICTURE.png (or jpg, webp): the folders' names are the labels, and classes may have
    different numbers of examples. Warnings of examples that look mislabelled go to standard error.
    """
    import numpy as np
    import torch

    from model.evaluation.support_report import examine
    from model.images.reader import reader
    from model.serving.adapt import Adapter
    from model.serving.adapt import Support as SupportFeatures

    labels, files = examples(support)
    asked = [file for query in queries for file in pictures(query)]
    leo = load_leo(model, find_device(device))
    where = leo.alpha.device

    def features(files: Sequence[Path], own: bool = False) -> torch.Tensor:
        images = torch.from_numpy(np.stack([read(file, reader(leo.config)) for file in files])).to(where).float() / 255
        images = images.unsqueeze(1) if images.dim() == 3 else images.movedim(3, 1)  # [B, 1 or 3, R, R]
        return leo.features(leo.encoder_phi if own else leo.classifier.phi, images)

    classes = list(dict.fromkeys(labels))
    numbers = np.array([classes.index(label) for label in labels])
    with torch.inference_mode():
        taught = features(files)  # [S, F]
        of_encoder = taught if leo.encoder.features is None else features(files, own=True)
        (task,) = Adapter(leo).adapt([SupportFeatures(taught, of_encoder, torch.from_numpy(numbers).to(where))])
        if not task.is_finite:
            fail("adaptation turned non-finite on these examples")
        logits = features(asked) @ task.weight.T + task.bias  # [Q, N]
        rows = (
            (logits / leo.config.temperature_at(len(files) / len(classes), len(classes))).softmax(dim=-1).cpu().numpy()
        )
    for suspect in examine(taught.cpu().numpy(), numbers).suspects:
        console.print(
            f"[yellow]worth a look:[/] {files[suspect.index]} looks more like {classes[suspect.looks_like]}",
            highlight=False,
        )
    answers = [answer(str(file), classes, row, top, threshold) for file, row in zip(asked, rows, strict=True)]
    show(answers, form)


def examples(support: Path, least: int = 2) -> tuple[list[str], list[Path]]:
    """Labels and files of a folder with a folder for each class."""
    if not support.is_dir():
        fail(f"no folder at {support}: give one that holds a folder of pictures for each class")
    found = [(folder.name, file) for folder in sorted(support.iterdir()) if folder.is_dir() for file in inside(folder)]
    if len({label for label, _ in found}) < least:
        fail(f"{support} needs at least {least} folders with pictures ({', '.join(PICTURES)}): one for each class")
    return [label for label, _ in found], [file for _, file in found]


def pictures(query: Path) -> list[Path]:
    """The picture itself, or those of a folder."""
    if not query.exists():
        fail(f"no picture at {query}")
    found = inside(query) if query.is_dir() else [query]
    if not found:
        fail(f"no pictures ({', '.join(PICTURES)}) in {query}")
    return found


def inside(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def read(file: Path, to_input: "Reader") -> "NDArray[np.uint8]":
    from PIL import Image

    from model.images.drawings import NoDrawing

    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as picture:
            return to_input(picture)
    except NoDrawing as error:
        fail(f"{file} shows no drawing: {error}")
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for broken files
        fail(f"{file} cannot be read as a picture ({type(error).__name__})")


def answer(file: str, classes: list[str], row: "NDArray[np.float32]", top: int, threshold: float) -> dict[str, Any]:
    best = (-row).argsort(kind="stable")[:top]
    first = best[0]
    return {
        "file": file,
        "label": classes[first],
        "confidence": round(float(row[first]), 6),
        "unknown": bool(row[first] < threshold),
        "top": [{"label": classes[n], "confidence": round(float(row[n]), 6)} for n in best],
    }


def show(answers: list[dict[str, Any]], form: Form) -> None:
    """To standard output."""
    if form is Form.JSON:
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    columns = ["file", "label", "confidence", "unknown"]
    if form is Form.CSV:
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(answers)
        return
    table = Table("picture", "class", "sure, %")
    if len(answers[0]["top"]) > 1:
        table.add_column("next")
    for each in answers:
        others = ", ".join(f"{score['label']} {100 * score['confidence']:.1f}" for score in each["top"][1:])
        label = f"none of these ({each['label']}?)" if each["unknown"] else each["label"]
        cells = [each["file"], label, f"{100 * each['confidence']:.1f}"]
        table.add_row(*cells, *([others] if others else []))
    Console().print(table)
