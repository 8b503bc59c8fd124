"""`leo card`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import DEFAULT_WEIGHTS, Weights, app, console, fail, find_device, load_leo, print_card


@app.command()
def card(
    data: Annotated[Path, typer.Option(help="Omniglot's images_background, folder or zip.")],
    model: Weights = DEFAULT_WEIGHTS,
    episodes: Annotated[int | None, typer.Option(min=20, help="Tasks a row.", show_default="2000")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    write: Annotated[bool, typer.Option(help="Put the figures into the model's folder.")] = False,
) -> None:
    """Measure again what a model's card says of it, from its weights.

    Same tasks of the validation alphabets, so the same figures but for the last digits of another machine's
    arithmetic. Takes some minutes.
    """
    from model.card import EPISODES, validate, write_readme
    from model.checkpoint import read_info, save_model
    from model.data.omniglot import DataError, load_drawings

    leo, info = load_leo(model, find_device(device)), read_info(model)
    try:
        with console.status(f"reading {data}"):
            validation = load_drawings(data).split("validation")
        with console.status("evaluating"):
            found = validate(leo, validation, episodes or EPISODES)
    except DataError as error:
        fail(error)
    print_card(f"{info.name} {info.version}, validation alphabets", found)
    if write:
        described = info.card | {"validation": found}
        save_model(leo, model, info.name, described)
        write_readme(model, info.name, read_info(model).version, described)
