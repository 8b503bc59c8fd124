"""`leo train`."""

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import app, console, fail, find_device, load_leo, print_card, print_photo_card

if TYPE_CHECKING:
    from model.data.photos import Photos
    from model.leo import LatentEmbeddingOptimization
    from model.training.photos import PhotoTrainer

PHOTOS = "photos"  # what callers ask for such a model by, whatever its backbone


@app.command()
def train(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Omniglot's images_background, folder or zip; for photos any of CLASS/IMAGE.jpg, or several."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run. An interrupted run goes on from there.")],
    preset: Annotated[
        str, typer.Option(help="Which run: omniglot, omniglot-105, photos-lite0, photos-lite2 or photos-plain.")
    ] = "omniglot",
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a trained model to learn from (omniglot-105 needs one).")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Folder of a trained model of the same shape to go on from, on these data.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same machine: same weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Meta-train a LEO and write its weights, card and curve.

    OUT/model is a model folder like those in weights/. OUT/log.csv and OUT/curve.png show how it went.

    On several GPUs, or cores without one: torchrun --nproc-per-node 2 -m app.cli train ...
    """
    from model import parallel
    from model.allocator import keep_freed_memory
    from model.backbones import BackboneError
    from model.checkpoint import read_info
    from model.data.omniglot import VALIDATION_ALPHABETS, DataError, load_drawings
    from model.data.photos import load_photos
    from model.leo import TrainingDiverged
    from model.training.drawings import Trainer
    from model.training.photos import PhotoTrainConfig, PhotoTrainer
    from model.training.presets import PRESETS

    keep_freed_memory()
    if preset not in PRESETS:
        fail(f"no preset called {preset!r}; there are {', '.join(PRESETS)}")
    config = PRESETS[preset].model_copy(update={"seed": seed})
    where = find_device(device)
    described: dict[str, Any] = {
        "data": ", ".join(path.name for path in data),
        "command": shlex.join(["leo", *(_shown(argument) for argument in sys.argv[1:])]),
        "seed": seed,
    }
    if isinstance(config, PhotoTrainConfig):
        try:
            photos = load_photos(*data)
            console.print("computing the backbone's features, once: some minutes", highlight=False)
            photo_trainer = PhotoTrainer(config, photos.split("train"), photos.split("validation"), out, where)
            _show_training(photo_trainer)
        except (DataError, BackboneError, TrainingDiverged) as error:
            fail(error)
        _finish_photos(photo_trainer, photos, described)
        return
    if len(data) > 1:
        fail("drawings come from one folder or zip; only photos may come from several")
    if config.distill > 0 and teacher is None:
        fail(f"{preset} learns from a trained model: give --teacher weights/omniglot")
    try:
        parallel.join()
        with console.status(f"reading {data[0]}"):
            drawings = load_drawings(data[0])
        training, validation = drawings.split("train"), drawings.split("validation")
        taught_by = None if teacher is None else load_leo(teacher, where)
        begun = None if start is None else load_leo(start, where)
        trainer = Trainer(config, training, validation, out, where, taught_by, begun)
        if parallel.is_first():
            console.print(
                f"budget: {config.pretrain_steps:,} steps of {config.pretrain_batch} images, then "
                f"{config.episode_steps:,} of up to {config.images_per_step} in tasks",
                highlight=False,
            )
            _show_training(trainer)
        else:
            for _ in trainer.run():
                pass
    except (DataError, TrainingDiverged, ValueError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on from {out / 'state.pt'}")
    described |= {
        "training_classes": len(training),
        "validation_alphabets": sorted(set(validation.alphabets) & set(VALIDATION_ALPHABETS)),
        "seconds": round(trainer.seconds),
    }
    if start is not None:
        described["start"] = read_info(start).version
    if parallel.is_first():
        _finish(trainer.leo, validation, out, preset, described)
    parallel.leave()


def _shown(argument: str) -> str:
    """A command's argument without the part of a path that only this machine has."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def _show_training(trainer: Any) -> None:
    """Run to the end under a progress bar; where there is no terminal, a line at each validation."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(
            "loss {task.fields[loss]:.3f}  validation {task.fields[validation]}  {task.fields[speed]:.0f} images/s"
        ),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown: dict[str, Any] = {}
        validation, loss, speed = "-", math.nan, None
        for now in trainer.run():
            if now.stage not in shown:
                shown[now.stage] = bar.add_task(now.stage, total=now.steps, loss=0.0, validation="-", speed=0.0)
            if not math.isnan(now.loss):  # NaN: the step was skipped
                loss = now.loss if math.isnan(loss) else 0.98 * loss + 0.02 * now.loss
            speed = now.images_per_second if speed is None else 0.95 * speed + 0.05 * now.images_per_second
            if now.validation is not None:
                validation = f"{100 * now.validation:.1f} %"
                if not console.is_terminal:
                    console.print(
                        f"{now.stage} {now.step}/{now.steps} loss {loss:.3f} validation {validation} "
                        f"{speed:.0f} images/s",
                        highlight=False,
                    )
            bar.update(shown[now.stage], completed=now.step, loss=loss, validation=validation, speed=speed)


def _finish(
    leo: "LatentEmbeddingOptimization", validation: Any, out: Path, name: str, described: dict[str, Any]
) -> None:
    """Evaluate on the validation alphabets and write model, card and curve."""
    from model.checkpoint import read_info, save_model
    from model.evaluation.calibration import temperature_of
    from model.evaluation.card import machine, shape_of, today, validate, write_readme
    from model.training.learning_curve import draw_curve

    leo.eval()
    with console.status("calibrating"):
        try:
            leo.config = leo.config.model_copy(update={"temperature": round(temperature_of(leo, validation), 4)})
        except ValueError as error:  # every validation answer right, say: nothing to learn how sure to be from
            console.print(f"probabilities are left as they are: {error}", highlight=False)
    with console.status("evaluating"):
        found = validate(leo, validation)
    card = described | {"date": today(), "machine": machine(), "shape": shape_of(leo), "validation": found}
    folder = out / "model"
    save_model(leo, folder, name, card)
    write_readme(folder, name, read_info(folder).version, card)
    draw_curve(out / "log.csv", out / "curve.png")
    print_card(f"{name}, validation alphabets", found)
    console.print(f"wrote {folder} and {out / 'curve.png'}", highlight=False)


def _finish_photos(trainer: "PhotoTrainer", photos: "Photos", described: dict[str, Any]) -> None:
    """Evaluate on the validation classes of each source and write model, card and curve."""
    from model.checkpoint import read_info, save_model
    from model.evaluation.calibration import sharpness_of
    from model.evaluation.card import machine, shape_of, today
    from model.evaluation.photo_card import validate_photos, write_photo_readme
    from model.training.baselines import best
    from model.training.learning_curve import draw_curve
    from model.training.photos import PHOTO_MIX, choose_l2

    leo, validation = trainer.leo, photos.split("validation")
    with console.status("calibrating"):
        temperature, by_shots, by_ways = sharpness_of(leo, trainer.sources, PHOTO_MIX)
        fitted = {
            "temperature": round(temperature, 4),
            "shot_sharpness": round(by_shots, 4),
            "way_sharpness": round(by_ways, 4),
        }
        leo.config = leo.config.model_copy(update=fitted)
    with console.status("choosing the logistic head's L2 on validation classes"):
        tried = choose_l2(leo, validation)
    card = described | {
        "training_classes": len(photos.split("train")),
        "validation_classes": list(validation.names),
        "seconds": round(trainer.seconds),
        "date": today(),
        "machine": machine(),
        "shape": shape_of(leo),
        "logistic_l2": best(tried),
    }
    with console.status("evaluating"):
        card["validation"] = validate_photos(leo, validation, card["logistic_l2"])
    folder = trainer.folder / "model"
    save_model(leo, folder, PHOTOS, card)
    write_photo_readme(folder, PHOTOS, read_info(folder).version, card)
    draw_curve(trainer.folder / "log.csv", trainer.folder / "curve.png")
    print_photo_card(f"{PHOTOS}, validation classes", card["validation"])
    console.print(f"wrote {folder} and {trainer.folder / 'curve.png'}", highlight=False)
