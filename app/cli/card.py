"""`leo card`: measure again the figures on a model's card."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import app, console, fail
from app.cli.figures import print_card, print_photo_card
from app.cli.models import load_model, load_pictures, one_line_errors
from app.cli.options import DEFAULT_WEIGHTS, Device, TrainingData, Weights
from app.cli.train import calibrate_known_if_possible

if TYPE_CHECKING:
    from model.data.omniglot import Drawings
    from model.leo import LatentEmbeddingOptimization

# As `model.training.config` lists them.
AFTER_TRAINING = ("support_views", "inner_temperature", "inner_ridge", "inner_lr", "inner_steps")
CALIBRATION_EPISODES = 200  # tasks of each kind


@app.command()
@one_line_errors()
def card(
    data: TrainingData,
    model: Weights = DEFAULT_WEIGHTS,
    episodes: Annotated[
        int | None, typer.Option(min=20, help="Tasks for each row.", show_default="2000, for photos 1000")
    ] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help=f"First change a setting of a model of drawings, and fit its probabilities again: "
            f"{', '.join(AFTER_TRAINING)}. Can be repeated.",
        ),
    ] = None,
    write: Annotated[bool, typer.Option(help="Write the figures into the model's folder.")] = False,
) -> None:
    """Measure the figures on a model's card again.

    The tasks are those of the card, drawn from the validation classes. So
    the figures are the same, but for the last digits, which depend on the
    machine. This takes some minutes.
    """
    from model.baselines.registry import LOGISTIC_L2
    from model.checkpoint import read_info, save_model, write_card
    from model.data.photos import Photos
    from model.evaluation.drawing_card import EPISODES, measure_drawing_figures, write_drawing_card
    from model.evaluation.photo_card import EPISODES as PHOTO_EPISODES
    from model.evaluation.photo_card import measure_photo_figures, write_photo_card

    changes = _parse_settings(settings or [])
    leo, info = load_model(model, device)
    with console.status("reading the data"):
        every = load_pictures(data, leo)
        pictures = every.split("validation")
    if changes:
        if isinstance(pictures, Photos):
            fail("--set is for models of drawings")
        leo = _change_settings(leo, changes, pictures, min(CALIBRATION_EPISODES, episodes or EPISODES))
        calibrate_known_if_possible(leo, every)
        info.card["after_training"] = info.card.get("after_training", {}) | changes
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
        if changes:
            save_model(leo, model, info.name, measured)
        else:
            write_card(model, measured)
        write_page(model, info.name, read_info(model).version, measured)


def _parse_settings(given: list[str]) -> dict[str, float]:
    """Read settings as NAME=VALUE."""
    changes = {}
    for each in given:
        name, _, value = each.partition("=")
        if name not in AFTER_TRAINING:
            fail(f"--set {each}: give one of {', '.join(AFTER_TRAINING)}, as --set {AFTER_TRAINING[0]}=5")
        try:
            changes[name] = float(value)
        except ValueError:
            fail(f"--set {each}: {value!r} is no number")
    return changes


def _change_settings(
    leo: "LatentEmbeddingOptimization", changes: dict[str, float], validation: "Drawings", episodes: int
) -> "LatentEmbeddingOptimization":
    """Return a LEO with the same weights and other settings, its probabilities fitted on the validation classes."""
    from pydantic import ValidationError

    from model.evaluation.calibration import DRAWING_SETTINGS, calibrate
    from model.evaluation.extracted_features import extract_leo_features
    from model.training.finishing import with_settings

    try:
        changed = with_settings(leo, changes)
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"--set {' '.join(map(str, first['loc']))}: {first['msg']}")
    with console.status("calibrating"), one_line_errors(ValueError):
        fitted = calibrate(changed, [extract_leo_features(changed, validation)], DRAWING_SETTINGS, episodes)
    changed.config = changed.config.model_copy(update=fitted)
    return changed
