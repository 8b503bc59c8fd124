"""`leo compare`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import (
    DEFAULT_WEIGHTS,
    Weights,
    app,
    console,
    fail,
    find_device,
    find_within,
    load_leo,
    load_pictures,
    numbers,
)

if TYPE_CHECKING:
    from model.baselines.method import Method
    from model.data.omniglot import Drawings
    from model.evaluation.compare import Compared
    from model.leo import LatentEmbeddingOptimization
    from model.training.baselines import Budget


@app.command()
def compare(
    data: Annotated[Path, typer.Option(help="Folder or zip in Omniglot's layout, or of photos as CLASS/IMAGE.jpg.")],
    model: Weights = DEFAULT_WEIGHTS,
    split: Annotated[str, typer.Option(help="all, train or validation (the last two by alphabet).")] = "validation",
    way: Annotated[list[str], typer.Option(help="Classes a task; several as 5,20.")] = ["5,20"],  # noqa: B006
    shot: Annotated[list[str], typer.Option(help="Support images a class; several as 1,5.")] = ["1,5,10"],  # noqa: B006
    query: Annotated[int, typer.Option(min=1, help="Queries a class.")] = 10,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks for each way and shot, the same for all.")] = 1000,
    within: Annotated[str | None, typer.Option(help="alphabet: a task's classes are all of one alphabet.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same tasks.")] = 0,
    repeats: Annotated[
        int,
        typer.Option(min=0, help="Adaptations timed for each method; 0 on a busy machine."),
    ] = 20,
    baselines: Annotated[
        Path | None,
        typer.Option(help="Folder of the trained baselines.", show_default="baselines/NAME beside the model"),
    ] = None,
    skip: Annotated[
        list[str], typer.Option(help="Methods to leave out, as MAML,Meta-SGD: those two adapt slowly on a CPU.")
    ] = [],  # noqa: B006
    train_baselines: Annotated[
        bool, typer.Option("--train-baselines", help="First train them on the data's train split and write them there.")
    ] = False,
    baseline_steps: Annotated[int, typer.Option(min=1, help="Steps of that training; default: LEO's own.")] = 1500,
    baseline_images: Annotated[int, typer.Option(min=20, help="Images a step of it; default: LEO's own.")] = 400,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the results there as JSON.")] = None,
) -> None:
    """Set LEO beside what people use instead, on the same tasks and features.

    Prototypes, a logistic head, MAML, Meta-SGD and ANIL: accuracy, the paired
    difference to LEO, and what adapting to one task costs from its pictures
    on (the JSON also holds the cost without phi's look at them). The last four
    learn something before any task (--train-baselines); until they have, they
    are left out.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler that counts memory is chatty
    from model.allocator import keep_freed_memory
    from model.baselines.folder import LOGISTIC_L2, all_methods, photo_methods, read_description
    from model.checkpoint import CheckpointError, read_info
    from model.data.omniglot import DataError, Drawings
    from model.evaluation.accuracy import Setting
    from model.evaluation.card import machine, today
    from model.evaluation.compare import Comparison
    from model.training.baselines import Budget

    keep_freed_memory()
    ways, shots, inside = numbers(way, "way"), numbers(shot, "shot"), find_within(within)
    leo = load_leo(model, find_device(device))
    info = read_info(model)
    folder = baselines or model.resolve().parent / "baselines" / model.resolve().name
    try:
        with console.status(f"reading {data}"):
            pictures = load_pictures(data, leo)
        if train_baselines:
            if not isinstance(pictures, Drawings):
                fail("--train-baselines is for drawings; what is compared on photos needs no training")
            budget = Budget(steps=baseline_steps, images_per_step=baseline_images, seed=seed)
            _train(leo, pictures.split("train"), folder, budget, {"model_version": info.version, "data": data.name})
        if isinstance(pictures, Drawings):
            described = read_description(folder, info.version)
            if described is None:
                console.print(
                    f"no trained baselines in {folder}: logistic head, MAML, Meta-SGD and ANIL are left out; "
                    "--train-baselines trains them",
                    highlight=False,
                )
            methods = all_methods(leo, folder, described)
        else:
            described = {"l2": info.card.get("logistic_l2", LOGISTIC_L2)}
            methods = photo_methods(leo, described["l2"])
        methods = _without(skip, methods)
        with console.status("looking at the pictures"):
            comparison = Comparison(methods, pictures.split(split), leo.config.resolution, leo.alpha.device)
        rows: list[Compared] = []
        for setting in [Setting(n, (k, k), query, inside) for n in ways for k in shots]:
            with console.status(f"{setting.way}-way {setting.shots[0]}-shot"):
                found = comparison.run(setting, episodes, seed, repeats)
            _print(found)
            rows += found
    except (DataError, CheckpointError) as error:
        fail(error)
    if out is not None:
        result = {
            "model": info.name,
            "model_version": info.version,
            "data": data.name,
            "split": split,
            "seed": seed,
            "date": today(),
            "machine": machine(),
            "baselines": described,
            "rows": [row.as_dict() for row in rows],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")


def _without(skipped: list[str], methods: "list[Method]") -> "list[Method]":
    """Fails for a name that is none of theirs. LEO, the first, stays: the others are compared with it."""
    names = {name.strip().lower() for several in skipped for name in several.split(",")}
    known = [method.name.lower() for method in methods[1:]]
    for name in sorted(names.difference(known)):
        fail(f"--skip {name}: there are {', '.join(known)}")
    return [methods[0], *(method for method in methods[1:] if method.name.lower() not in names)]


def _train(
    leo: "LatentEmbeddingOptimization", training: "Drawings", folder: Path, budget: "Budget", described: dict[str, Any]
) -> None:
    """Train what needs it, showing the budget and how it goes, and write it to the folder."""
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from model.baselines.folder import save_description, save_gradient_based
    from model.baselines.gradient import KINDS, GradientBased
    from model.evaluation.card import machine, today
    from model.training.baselines import best, choose_l2, meta_train

    with console.status("choosing the logistic head's L2 on training classes"):
        tried = choose_l2(leo, training, seed=budget.seed)
    console.print(f"logistic head: L2 {best(tried):g}", highlight=False)
    console.print(
        f"meta-training {', '.join(KINDS)}: {budget.steps} steps of up to {budget.images_per_step} images each",
        highlight=False,
    )
    seconds = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        for kind in KINDS:
            shown = bar.add_task(kind, total=budget.steps, loss=0.0)
            method, began = GradientBased(leo, kind), time.perf_counter()
            losses: list[float] = []
            for step, loss in meta_train(method, training, leo.config.resolution, budget, leo.alpha.device):
                losses = [*losses[-49:], loss]
                recent = sum(losses) / len(losses)
                bar.update(shown, completed=step, loss=recent)
                if not console.is_terminal and step % 50 == 0:
                    console.print(f"{kind} {step}/{budget.steps} loss {recent:.3f}", highlight=False)
            seconds[kind] = round(time.perf_counter() - began)
            save_gradient_based(method, folder)
    l2 = {"l2": best(tried), "l2_accuracies": {f"{strength:g}": value for strength, value in tried.items()}}
    trained = {"budget": budget.model_dump(mode="json"), "seconds": seconds, "date": today(), "machine": machine()}
    save_description(folder, described | {"training_classes": len(training)} | l2 | trained)


def _print(rows: "list[Compared]") -> None:
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    place = f" within one {first.within}" if first.within else ""
    table = Table(
        title=f"{first.way}-way {first.shot}-shot{place}, {first.episodes} tasks, {first.query} queries a class"
    )
    for column in ("method", "accuracy, %", "less LEO's", "adapt, ms", "peak, MiB"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        same, cost = row is first, row.from_pictures
        table.add_row(
            row.method,
            f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}",
            "" if same else f"{100 * row.difference:+.2f} ± {100 * row.difference_ci95:.2f}",
            "-" if cost is None or cost.milliseconds is None else f"{cost.milliseconds:.1f}",
            "-" if cost is None else f"{cost.peak_bytes / 2**20:.2f}",
        )
    # Into a file or a pipe nothing is broken into lines.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
