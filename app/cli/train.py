"""`leo train`: meta-train a model and write its weights, card and learning curve."""

import math
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import app, console, fail, note
from app.cli.figures import print_card, print_photo_card, progress_bar
from app.cli.models import find_device, load_drawings, load_photos, one_line_errors
from app.cli.options import Device

if TYPE_CHECKING:
    import torch

    from model.data.omniglot import Drawings
    from model.data.photos import Photos
    from model.evaluation.accuracy import Setting
    from model.evaluation.extracted_features import ExtractedFeatures, Pictures
    from model.leo import LatentEmbeddingOptimization
    from model.training.config import DrawingTrainConfig, PhotoTrainConfig
    from model.training.photos import PhotoTrainer


@app.command()
@one_line_errors()
def train(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Omniglot's images_background, as a folder or zip; or photos as CLASS/IMAGE.jpg, from one or several."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run. An interrupted run continues from there.")],
    preset: Annotated[
        str,
        typer.Option(
            help="Which run: omniglot, omniglot-100x, omniglot-105, photos-lite0, photos-lite2, photos-large or "
            "photos-plain."
        ),
    ] = "omniglot",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="A pretrained network for photos, instead of a preset: clip-vit-b16, timm:NAME, torchvision:NAME, "
            "open_clip:NAME/PRETRAINED, onnx:FILE, or several joined with +."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What callers will name the model.", show_default="the preset's, or photos")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a trained model to learn from; omniglot-105 needs one.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Folder of a trained model of the same shape, to continue from on this data.")
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Photos of each class that are used, the first ones: a large backbone takes long for each.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights, on the same data and machine.")] = 0,
    device: Device = "auto",
) -> None:
    """Meta-train a LEO and write its weights, card and learning curve.

    OUT/model is a model folder like those in weights/. OUT/log.csv and
    OUT/curve.png show how the run went. The run can be killed at any
    moment: the same command continues it, and ends with the same weights.

    On several GPUs, or on several cores without one: torchrun --nproc-per-node 2 -m app.cli train ...
    """
    from model.allocator import keep_freed_memory
    from model.training.config import PhotoTrainConfig
    from model.training.presets import PRESETS, photo_run

    keep_freed_memory()
    if preset not in PRESETS:
        fail(f"no preset called {preset!r}; there are {', '.join(PRESETS)}")
    chosen = PRESETS[preset] if backbone is None else photo_run(backbone)
    config = chosen.model_copy(update={"seed": seed})
    origin: dict[str, Any] = {
        "data": ", ".join(path.name for path in data),
        "command": shlex.join(["leo", *(_without_folders(argument) for argument in sys.argv[1:])]),
        "seed": seed,
    }
    if isinstance(config, PhotoTrainConfig):
        name = name or (preset if backbone is None else "photos")
        _train_on_photos(config, name, data, most, out, find_device(device), origin)
    elif most is not None:
        fail("--most is for photos: leave it out with drawings")
    elif config.distill > 0 and teacher is None:
        fail(f"{preset} learns from a trained model: give --teacher weights/omniglot")
    else:
        _train_on_drawings(config, name or preset, data, out, teacher, start, find_device(device), origin)


def _without_folders(argument: str) -> str:
    """Reduce a path to its name if it leads out of the working folder: the card must hold for other machines."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def _train_on_drawings(
    config: "DrawingTrainConfig",
    name: str,
    data: list[Path],
    out: Path,
    teacher: Path | None,
    start: Path | None,
    device: "torch.device",
    origin: dict[str, Any],
) -> None:
    from model import parallel
    from model.checkpoint import read_info
    from model.leo import LatentEmbeddingOptimization
    from model.training.drawings import DrawingTrainer
    from model.training.finishing import finish

    parallel.join()
    with console.status(f"reading {data[0]}"):
        drawings = load_drawings(data)
    training, validation = drawings.split("train"), drawings.split("validation")
    note(f"{len(drawings)} classes, {len(validation)} of them held back for validation")
    teacher_leo, start_leo = (
        None if folder is None else LatentEmbeddingOptimization.from_pretrained(folder, device)
        for folder in (teacher, start)
    )
    try:
        with one_line_errors(ValueError):  # the run in `out`, or the model to start from, does not fit the settings
            trainer = DrawingTrainer(config, training, validation, out, device, teacher_leo, start_leo)
            if parallel.is_first():
                stages = [
                    f"{config.pretrain_steps:,} steps of {config.pretrain_batch} images",
                    f"{config.episode_steps:,} steps of tasks with up to {config.images_per_step} images",
                    f"{config.view_steps:,} steps of {config.view_batch} drawings in {config.taught_views} views",
                ]
                note(f"budget: {', then '.join(stages if config.view_steps else stages[:2])}")
                _show_training(trainer)
            else:
                for _ in trainer.run():
                    pass
    except KeyboardInterrupt:
        fail(f"interrupted; the same command continues from {out / 'state.pt'}")
    if parallel.is_first():
        card = origin | {
            "training_classes": len(training),
            # Of a single alphabet, classes are held back.
            "validation_alphabets": sorted(set(validation.alphabets) - set(training.alphabets)) or validation.names,
            "validation_classes": list(validation.names),
            "seconds": round(trainer.seconds),
        }
        if teacher is not None:
            card["teacher"] = {"name": read_info(teacher).name, "version": read_info(teacher).version}
        if start is not None:
            card["start"] = read_info(start).version
        _finish_drawings(finish(trainer.leo, config), drawings, out, name, card)
    parallel.leave()


def _train_on_photos(
    config: "PhotoTrainConfig",
    name: str,
    data: list[Path],
    most: int | None,
    out: Path,
    device: "torch.device",
    origin: dict[str, Any],
) -> None:
    from model.training.photos import PhotoTrainer

    photos = load_photos(data)
    photos = photos if most is None else photos.first(most)
    training, validation = photos.split("train"), photos.split("validation")
    note(f"{len(photos)} classes, {len(validation)} of them held back for validation")
    note("computing the backbone's features, once: this takes some minutes")
    trainer = PhotoTrainer(config, training, validation, out, device)
    _show_training(trainer)
    _finish_photos(trainer, name, photos, origin)


def _show_training(trainer: Any) -> None:
    """Train to the end and show a progress bar; without a terminal, print a line at each validation."""
    figures = "loss {task.fields[loss]:.3f}  validation {task.fields[validation]}  {task.fields[speed]:.0f} images/s"
    with progress_bar(figures) as bar:
        shown: dict[str, Any] = {}
        validation, loss, speed = "-", math.nan, None
        for step in trainer.run():
            if step.stage not in shown:
                shown[step.stage] = bar.add_task(step.stage, total=step.steps, loss=0.0, validation="-", speed=0.0)
            if not math.isnan(step.loss):  # NaN: the step was skipped
                loss = step.loss if math.isnan(loss) else 0.98 * loss + 0.02 * step.loss
            speed = step.images_per_second if speed is None else 0.95 * speed + 0.05 * step.images_per_second
            if step.validation is not None:
                validation = f"{100 * step.validation:.1f} %"
                if not console.is_terminal:
                    note(
                        f"{step.stage} {step.step}/{step.steps} loss {loss:.3f} validation {validation} "
                        f"{speed:.0f} images/s"
                    )
            bar.update(shown[step.stage], completed=step.step, loss=loss, validation=validation, speed=speed)


def _finish_drawings(
    leo: "LatentEmbeddingOptimization", drawings: "Drawings", out: Path, name: str, origin: dict[str, Any]
) -> None:
    """Calibrate and evaluate on the validation alphabets, and write model, card and curve."""
    from model.checkpoint import read_info, save_model
    from model.evaluation.calibration import DRAWING_SETTINGS
    from model.evaluation.drawing_card import measure_drawing_figures, write_drawing_card
    from model.evaluation.extracted_features import extract_leo_features
    from model.evaluation.model_card import shape_of
    from model.evaluation.provenance import machine, today
    from model.training.learning_curve import draw_curve

    validation = drawings.split("validation")
    calibrate_if_possible(leo, [extract_leo_features(leo, validation)], DRAWING_SETTINGS)
    calibrate_known_if_possible(leo, drawings)
    with console.status("evaluating"):
        figures = measure_drawing_figures(leo, validation)
    card = origin | {"date": today(), "machine": machine(), "shape": shape_of(leo), "validation": figures}
    folder = out / "model"
    save_model(leo, folder, name, card)
    write_drawing_card(folder, name, read_info(folder).version, card)
    draw_curve(out / "log.csv", out / "curve.png")
    print_card(f"{name}, validation alphabets", figures)
    note(f"wrote {folder} and {out / 'curve.png'}")


def _finish_photos(trainer: "PhotoTrainer", name: str, photos: "Photos", origin: dict[str, Any]) -> None:
    """Evaluate on the validation classes of each source and write model, card and curve."""
    from model.checkpoint import read_info, save_model
    from model.evaluation.model_card import shape_of
    from model.evaluation.photo_card import measure_photo_figures, write_photo_card
    from model.evaluation.provenance import machine, today
    from model.training.l2_search import accuracy_by_l2_on_photos, best_l2
    from model.training.learning_curve import draw_curve
    from model.training.photo_validation import PHOTO_CALIBRATION_SETTINGS

    leo, validation = trainer.leo, photos.split("validation")
    calibrate_if_possible(leo, trainer.validation_features, PHOTO_CALIBRATION_SETTINGS)
    calibrate_known_if_possible(leo, photos)
    with console.status("choosing the logistic head's L2 on validation classes"):
        tried = accuracy_by_l2_on_photos(leo, validation)
    card = origin | {
        "training_classes": len(photos.split("train")),
        "validation_classes": list(validation.names),
        "seconds": round(trainer.seconds),
        "date": today(),
        "machine": machine(),
        "shape": shape_of(leo),
        "logistic_l2": best_l2(tried),
    }
    with console.status("evaluating"):
        card["validation"] = measure_photo_figures(leo, validation, card["logistic_l2"])
    folder = trainer.folder / "model"
    save_model(leo, folder, name, card)
    write_photo_card(folder, name, read_info(folder).version, card)
    draw_curve(trainer.folder / "log.csv", trainer.folder / "curve.png")
    print_photo_card(f"{name}, validation classes", card["validation"])
    note(f"wrote {folder} and {trainer.folder / 'curve.png'}")


def calibrate_if_possible(
    leo: "LatentEmbeddingOptimization", validation: "Iterable[ExtractedFeatures]", settings: "Iterable[Setting]"
) -> None:
    """Calibrate a model's probabilities on held-back classes, where these hold an error to calibrate by."""
    from model.evaluation.calibration import calibrate

    with console.status("calibrating"):
        try:
            fitted = calibrate(leo, validation, settings)
        except ValueError as error:
            return note(f"probabilities are left as they are: {error}")
    leo.config = leo.config.model_copy(update=fitted)


def calibrate_known_if_possible(leo: "LatentEmbeddingOptimization", pictures: "Pictures") -> None:
    """Fit how a model tells pictures of other classes from those of a task, if there is enough data."""
    from model.data.sources import DataError
    from model.evaluation.known import calibrate_on

    with console.status("calibrating `known`"):
        try:
            leo.background = calibrate_on(leo, pictures)
        except DataError as error:
            note(f"the model will not tell pictures of other classes: {error}")
