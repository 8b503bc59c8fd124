"""`leo low-rank`: bring the last layer of a model's decoder to a lower rank."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.common import app, console, fail, note
from app.cli.figures import print_card
from app.cli.models import load_drawings, load_model, one_line_errors
from app.cli.options import TrainingData, Weights
from app.cli.train import calibrate_known_if_possible


@app.command("low-rank")
@one_line_errors()
def low_rank(
    data: TrainingData,
    model: Weights,
    out: Annotated[Path, typer.Option(help="Folder for the new model; it may be that of the old one.")],
    rank: Annotated[int, typer.Option(min=1, help="The new rank; at least the length of a code.")],
    episodes: Annotated[
        int | None, typer.Option(min=20, help="Tasks for each row of the card.", show_default="2000")
    ] = None,
) -> None:
    """Bring the last layer of a model's decoder to a lower rank, and measure what that costs.

    The service reads all of that layer for every task. If phi gives many
    features, most of the layer does nothing, and reading less of it is
    faster. The new model is another version: tasks made with the old one
    need the old one.
    """
    from model.checkpoint import read_info, save_model
    from model.evaluation.drawing_card import EPISODES, measure_drawing_figures, write_drawing_card
    from model.evaluation.model_card import shape_of
    from model.training.low_rank import with_low_rank_decoder

    leo, info = load_model(model, "cpu")
    if leo.config.pretrained is not None:
        fail("only models of drawings can be brought to a lower rank; the decoder of a model for photos is small")
    try:
        ranked = with_low_rank_decoder(leo, rank)
    except ValueError as error:
        fail(error)
    with console.status("reading the data"):
        every = load_drawings(data)
        drawings = every.split("validation")
    calibrate_known_if_possible(ranked, every)
    with console.status("evaluating"):
        validation = measure_drawing_figures(ranked, drawings, episodes or EPISODES)
    card = info.card | {
        "shape": shape_of(ranked),
        "command": f"{info.card['command']} && leo low-rank --rank {rank}",
        "validation": validation,
    }
    save_model(ranked, out, info.name, card)
    version = read_info(out).version
    write_drawing_card(out, info.name, version, card)
    print_card(f"{info.name} {info.version}, validation classes", info.card["validation"])
    print_card(f"{info.name} {version}, of rank {rank}, validation classes", validation)


@app.command("narrow", hidden=True)
@functools.wraps(low_rank)
def narrow(**options: Any) -> None:
    """Run `leo low-rank` under its old name, for one more release."""
    note("`leo narrow` is deprecated and will be removed in the next release: use `leo low-rank`", heading="warning: ")
    low_rank(**options)
