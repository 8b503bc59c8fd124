"""`leo card`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import (
    DEFAULT_WEIGHTS,
    Weights,
    app,
    console,
    fail,
    find_device,
    load_leo,
    load_pictures,
    print_card,
    print_photo_card,
)


@app.command()
def card(
    data: Annotated[list[Path], typer.Option(help="What it was trained on: a folder or zip; for photos several.")],
    model: Weights = DEFAULT_WEIGHTS,
    episodes: Annotated[
        int | None, typer.Option(min=20, help="Tasks a row.", show_default="2000, for photos 1000")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    write: Annotated[bool, typer.Option(help="Put the figures into the model's folder.")] = False,
) -> None:
    """Measure again what a model's card says of it, from its weights.

    Same tasks of the validation classes, so the same figures but for the last digits of another machine's
    arithmetic. Takes some minutes.
    """
    from model.baselines.folder import LOGISTIC_L2
    from model.checkpoint import read_info, save_model
    from model.data.omniglot import DataError
    from model.data.photos import Photos
    from model.evaluation.card import EPISODES, validate, write_readme
    from model.evaluation.photo_card import EPISODES as PHOTO_EPISODES
    from model.evaluation.photo_card import validate_photos, write_photo_readme

    leo, info = load_leo(model, find_device(device)), read_info(model)
    try:
        with console.status("reading the data"):
            validation = load_pictures(data, leo).split("validation")
        with console.status("evaluating"):
            if isinstance(validation, Photos):
                l2 = info.card.get("logistic_l2", LOGISTIC_L2)
                found = validate_photos(leo, validation, l2, episodes or PHOTO_EPISODES)
            else:
                found = validate(leo, validation, episodes or EPISODES)
    except DataError as error:
        fail(error)
    show, write_page = (
        (print_photo_card, write_photo_readme) if isinstance(validation, Photos) else (print_card, write_readme)
    )
    show(f"{info.name} {info.version}, validation classes", found)
    if write:
        described = info.card | {"validation": found}
        save_model(leo, model, info.name, described)
        write_page(model, info.name, read_info(model).version, described)
