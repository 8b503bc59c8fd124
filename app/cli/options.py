"""Options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Format
from model.shipped import WEIGHTS, model_folder

DEFAULT_WEIGHTS = WEIGHTS / "omniglot"

Weights = Annotated[
    Path, typer.Option("--model", parser=model_folder, help="Folder of the model, or the name of a shipped one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TrainingData = Annotated[
    list[Path], typer.Option(help="The data it was trained on: a folder or zip. Photos may come from several.")
]
Split = Annotated[str, typer.Option(help="all, train or validation; no alphabet is in both of the last two.")]
SameAlphabet = Annotated[
    str | None, typer.Option("--within", help="alphabet: all classes of a task from one alphabet.")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same tasks.")]
Out = Annotated[Path | None, typer.Option(help="Write the results to this file as JSON.")]


def given_path(text: str) -> Path:
    """A path that was given. Raises `typer.BadParameter` for an empty one, which would be the working directory."""
    if not text:
        raise typer.BadParameter("the path is empty; is a variable of the shell unset?")
    return Path(text)


Support = Annotated[
    Path,
    typer.Argument(parser=given_path, help="Folder or zip that holds one folder of pictures for each class."),
]
Negatives = Annotated[
    list[Path] | None,
    typer.Option(
        parser=given_path,
        help="A picture, or a folder or zip of them, of what is none of the classes; may be repeated. A folder "
        "`_negatives` beside the classes means the same.",
    ),
]
Queries = Annotated[
    list[Path],
    typer.Argument(parser=given_path, metavar="QUERY", help="Pictures to classify, or folders or zips of them."),
]
Reject = Annotated[
    float,
    typer.Option(min=0, max=1, help="Share of the classes' own pictures that may be taken for unknown; 0: none."),
]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="An answer with a lower confidence is unknown too.")]
Top = Annotated[int, typer.Option(min=1, help="How many classes to name for each picture, likeliest first.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the results.")]
