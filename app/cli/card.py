"""`leo card`: measure again the figures on a model's card."""

from typing import Annotated

import typer

from app.cli.common import app, console
from app.cli.figures import print_card, print_photo_card
from app.cli.models import load_model, load_pictures, one_line_errors
from app.cli.options import DEFAULT_WEIGHTS, Device, TrainingData, Weights


@app.command()
@one_line_errors()
def card(
    data: TrainingData,
    model: Weights = DEFAULT_WEIGHTS,
    episodes: Annotated[
        int | None, typer.Option(min=20, help="Tasks for each row.", show_default="2000, for photos 1000")
    ] = None,
    device: Device = "auto",
    write: Annotated[bool, typer.Option(help="Write the figures into the model's folder.")] = False,
) -> None:
    """Measure the figures on a model's card again.

    The tasks are those of the card, drawn from the validation classes. So
    the figures are the same, but for the last digits, which depend on the
    machine. This takes some minutes.
    """
    from model.baselines.registry import LOGISTIC_L2
    from model.checkpoint import read_info, save_model
    from model.data.photos import Photos
    from model.evaluation.drawing_card import EPISODES, measure_drawing_figures, write_drawing_card
    from model.evaluation.photo_card import EPISODES as PHOTO_EPISODES
    from model.evaluation.photo_card import measure_photo_figures, write_photo_card

    leo, info = load_model(model, device)
    with console.status("reading the data"):
        pictures = load_pictures(data, leo).split("validation")
    with console.status("evaluating"):
        if isinstance(pictures, Photos):
            l2 = info.card.get("logistic_l2", LOGISTIC_L2)
            validation = measure_photo_figures(leo, pictures, l2, episodes or PHOTO_EPISODES)
        else:
            validation = measure_drawing_figures(leo, pictures, episodes or EPISODES)
    print_figures, write_page = (
        (print_photo_card, write_photo_card) if isinstance(pictures, Photos) else (print_card, write_drawing_card)
    )
    print_figures(f"{info.name} {info.version}, validation classes", validation)
    if write:
        measured = info.card | {"validation": validation}
        save_model(leo, model, info.name, measured)
        write_page(model, info.name, read_info(model).version, measured)
