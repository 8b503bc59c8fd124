"""`leo narrow`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Weights, app, console, fail, find_device, load_leo, load_pictures, print_card


@app.command()
def narrow(
    data: Annotated[list[Path], typer.Option(help="What it was trained on: a folder or zip.")],
    model: Weights,
    out: Annotated[Path, typer.Option(help="Folder for the narrowed model; may be the model's own.")],
    rank: Annotated[int, typer.Option(min=1, help="Of the decoder's last layer; at least the length of a code.")],
    episodes: Annotated[int | None, typer.Option(min=20, help="Tasks a row of its card.", show_default="2000")] = None,
) -> None:
    """Bring the last layer of a model's decoder to a lower rank, and measure what that costs.

    Where phi gives many features, most of that layer does nothing, yet all of it is read for every task. The
    narrowed model is another version: tasks of the one cannot be asked of the other.
    """
    from model.checkpoint import read_info, save_model
    from model.data.omniglot import DataError
    from model.evaluation.card import EPISODES, shape_of, validate, write_readme
    from model.training.low_rank import with_low_rank_decoder

    leo, info = load_leo(model, find_device("cpu")), read_info(model)
    if leo.config.pretrained is not None:
        fail("only models of drawings can be narrowed; photos have a decoder of a single map already")
    try:
        ranked = with_low_rank_decoder(leo, rank)
    except ValueError as error:
        fail(error)
    try:
        with console.status("reading the data"):
            validation = load_pictures(data, leo).split("validation")
        with console.status("evaluating"):
            found = validate(ranked, validation, episodes or EPISODES)
    except DataError as error:
        fail(error)
    described = info.card | {
        "shape": shape_of(ranked),
        "command": f"{info.card['command']} && leo narrow --rank {rank}",
        "validation": found,
    }
    save_model(ranked, out, info.name, described)
    write_readme(out, info.name, read_info(out).version, described)
    print_card(f"{info.name} {info.version}, validation classes", info.card["validation"])
    print_card(f"{info.name} {read_info(out).version}, of rank {rank}, validation classes", found)
