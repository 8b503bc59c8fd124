"""`leo calibrate`: fit how a model tells pictures of other classes from those of a task."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import app, console, note
from app.cli.models import load_model, load_pictures, one_line_errors
from app.cli.options import DEFAULT_WEIGHTS, Device, TrainingData, Weights


@app.command()
@one_line_errors()
def calibrate(
    data: TrainingData,
    model: Weights = DEFAULT_WEIGHTS,
    device: Device = "auto",
    write: Annotated[bool, typer.Option(help="Write known.safetensors into the model's folder.")] = False,
) -> None:
    """Fit `known`: how much a picture looks like those of the task's classes.

    Background classes are taken from the classes that the model was trained
    on, and the distribution of scores from its validation classes. `leo
    train` does this at its end. Neither the model's version nor its tasks
    change. To see what it is worth, run `leo evaluate`.
    """
    from model.checkpoint import read_info, write_background
    from model.evaluation.known import calibrate_on

    leo, _ = load_model(model, device)
    with console.status("reading the data"):
        pictures = load_pictures(data, leo)
    with console.status("calibrating"):
        background = calibrate_on(leo, pictures)
    for shots, scores in zip(background.shots, background.quantiles, strict=True):
        lowest = [f"{scores[(background.levels == level).argmax()]:.2f}" for level in background.levels[[3, 5, 7]]]
        note(f"{shots:g} shots: 2, 5 and 10 % of the task's own pictures score below {', '.join(lowest)}")
    if write:
        note(f"wrote {write_background(Path(model), read_info(Path(model)).version, background)}")
