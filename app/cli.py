"""`leo`: serve, train, evaluate."""

import asyncio
import json
import logging
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from app.settings import Settings
    from model.evaluate import Row
    from model.leo import LatentEmbeddingOptimization

# torch takes seconds to import, so commands import what they need themselves: --help is instant.

app = typer.Typer(
    name="leo",
    help="Few-shot classifiers in milliseconds: Latent Embedding Optimization, trained and served.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
console = Console(stderr=True)

Weights = Annotated[Path, typer.Option("--model", help="Folder of a model.")]
DEFAULT_WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "omniglot"


def fail(message: object) -> NoReturn:
    """One line that says what is wrong, and exit code 1."""
    console.print(f"[bold red]error:[/] {message}", highlight=False)
    raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="LEO_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="LEO_PORT or 8000")] = None,
) -> None:
    """Serve a model over HTTP.

    Settings come from the environment: LEO_HOST, LEO_PORT, LEO_DATA_DIR, LEO_WEIGHTS, LEO_DEVICE
    and more; the README lists them. A flag wins over its variable.
    """
    import uvicorn
    from pydantic import ValidationError

    from app.main import create_app
    from app.problems import describe
    from app.settings import Settings
    from app.store import StoreUnavailable
    from model.memory import keep_freed_memory

    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        fail(f"a setting (LEO_...) is wrong: {describe(error.errors())}")
    try:
        service = create_app(settings)
        asyncio.run(_check_store(settings))
    except (ValueError, StoreUnavailable) as error:
        fail(error)
    uvicorn.run(service, host=settings.host, port=settings.port, log_level="info", access_log=False)


async def _check_store(settings: "Settings") -> None:
    """Open and close the store, so that one that cannot be used is one line and not a traceback."""
    from app.main import open_store

    await (await open_store(settings)).close()


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Omniglot's images_background, folder or zip.")],
    out: Annotated[Path, typer.Option(help="Folder of the run. An interrupted run goes on from there.")],
    preset: Annotated[str, typer.Option(help="Which run: omniglot or omniglot-105.")] = "omniglot",
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a trained model to learn from (omniglot-105 needs one).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same machine: same weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Meta-train a LEO and write its weights, card and curve.

    OUT/model is a model folder like those in weights/. OUT/log.csv and OUT/curve.png show how it went.
    """
    from model.data.omniglot import VALIDATION_ALPHABETS, DataError, load_drawings
    from model.leo import TrainingDiverged
    from model.memory import keep_freed_memory
    from model.presets import PRESETS
    from model.train import Trainer

    keep_freed_memory()
    if preset not in PRESETS:
        fail(f"no preset called {preset!r}; there are {', '.join(PRESETS)}")
    config = PRESETS[preset].model_copy(update={"seed": seed})
    if config.distill > 0 and teacher is None:
        fail(f"{preset} learns from a trained model: give --teacher weights/omniglot")
    where = _device(device)
    try:
        with console.status(f"reading {data}"):
            drawings = load_drawings(data)
        training, validation = drawings.split("train"), drawings.split("validation")
        taught_by = None if teacher is None else _load(teacher, where)
        trainer = Trainer(config, training, validation, out, where, taught_by)
        _show_training(trainer)
    except (DataError, TrainingDiverged, ValueError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on from {out / 'state.pt'}")
    described: dict[str, Any] = {
        "data": data.name,
        "training_classes": len(training),
        "validation_alphabets": sorted(set(validation.alphabets) & set(VALIDATION_ALPHABETS)),
        "command": shlex.join(["leo", *(_shown(argument) for argument in sys.argv[1:])]),
        "seed": seed,
        "seconds": round(trainer.seconds),
    }
    _finish(trainer.leo, validation, out, preset, described)


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
    from model.card import machine, today, write_readme
    from model.checkpoint import read_info, save_model
    from model.curve import draw_curve
    from model.evaluate import evaluate_many, extract

    leo.eval()
    with console.status("evaluating"):
        features = extract(leo, validation)
        rows = [row for steps in (None, 0) for row in evaluate_many(leo, features, [5, 20], [1, 5], 15, 1000, 0, steps)]
    card = described | {
        "date": today(),
        "machine": machine(),
        "shape": {
            "resolution": leo.config.resolution,
            "feature_dim": leo.config.feature_dim,
            "latent_dim": leo.config.latent_dim,
            "parameters": sum(p.numel() for n, p in leo.named_parameters() if not n.startswith("classifier.fc.")),
        },
        "validation": [row.as_dict() for row in rows],
    }
    folder = out / "model"
    save_model(leo, folder, name, card)
    write_readme(folder, name, read_info(folder).version, card)
    draw_curve(out / "log.csv", out / "curve.png")
    _print_rows(f"{name}, validation alphabets", rows)
    console.print(f"wrote {folder} and {out / 'curve.png'}", highlight=False)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder or zip in Omniglot's layout, or of Lake's runs.")],
    model: Weights = DEFAULT_WEIGHTS,
    split: Annotated[str, typer.Option(help="all, train or validation (the last two by alphabet).")] = "all",
    way: Annotated[list[str], typer.Option(help="Classes a task; several as 5,20 or by repeating.")] = ["5"],  # noqa: B006
    shot: Annotated[list[str], typer.Option(help="Support images a class; several as 1,5.")] = ["1"],  # noqa: B006
    query: Annotated[int, typer.Option(min=1, help="Queries a class.")] = 15,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks for each way and shot.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same tasks, for any model.")] = 0,
    inner_steps: Annotated[
        int | None, typer.Option(min=0, help="Steps of the inner loop; 0 shows what they add.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="episodes, or runs for Lake's 20 one-shot runs.")] = "episodes",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the results there as JSON.")] = None,
) -> None:
    """Measure accuracy, with 95 % intervals, on tasks drawn from any folder of drawings."""
    from model.card import machine, today
    from model.checkpoint import read_info
    from model.data.omniglot import DataError, load_drawings
    from model.evaluate import evaluate_many, extract
    from model.memory import keep_freed_memory
    from model.runs import evaluate_runs

    keep_freed_memory()
    if protocol not in ("episodes", "runs"):
        fail(f"no protocol called {protocol!r}; there are episodes and runs")
    ways, shots = _numbers(way, "way"), _numbers(shot, "shot")
    leo = _load(model, _device(device))
    info = read_info(model)
    try:
        if protocol == "runs":
            rows = [evaluate_runs(leo, data, inner_steps)]
        else:
            with console.status(f"reading {data}"):
                drawings = load_drawings(data).split(split)
            with console.status("extracting features"):
                features = extract(leo, drawings)
            rows = list(evaluate_many(leo, features, ways, shots, query, episodes, seed, inner_steps))
    except DataError as error:
        fail(error)
    _print_rows(f"{info.name} {info.version} on {data.name}, {split if protocol == 'episodes' else 'runs'}", rows)
    if out is not None:
        result = {
            "model": info.name,
            "model_version": info.version,
            "data": data.name,
            "split": split if protocol == "episodes" else None,
            "protocol": protocol,
            "seed": seed,
            "date": today(),
            "machine": machine(),
            "rows": [row.as_dict() for row in rows],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")


def _numbers(given: list[str], what: str) -> list[int]:
    try:
        return [int(number) for text in given for number in text.split(",")]
    except ValueError:
        fail(f"--{what} {' '.join(given)}: give whole numbers, as in --{what} 5,20")


def _device(name: str) -> Any:
    from model.devices import choose

    try:
        return choose(name)
    except ValueError as error:
        fail(error)


def _load(folder: Path, device: Any) -> "LatentEmbeddingOptimization":
    from model.checkpoint import CheckpointError
    from model.leo import LatentEmbeddingOptimization

    try:
        return LatentEmbeddingOptimization.from_pretrained(folder, device)
    except CheckpointError as error:
        fail(error)


def _print_rows(title: str, rows: "list[Row]") -> None:
    table = Table(title=title)
    for column in ("way", "shot", "episodes", "inner steps", "accuracy, %", "± 95 %"):
        table.add_column(column, justify="right")
    for r in rows:
        table.add_row(
            str(r.way),
            str(r.shot),
            str(r.episodes),
            str(r.inner_steps),
            f"{100 * r.accuracy:.2f}",
            f"{100 * r.ci95:.2f}",
        )
    Console().print(table)


def main() -> None:
    """The `leo` command."""
    app()


if __name__ == "__main__":
    main()
