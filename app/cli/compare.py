"""`leo compare`: measure LEO and what people use instead on the same tasks."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import app, console, fail, note, numbers, print_table
from app.cli.figures import percent, progress_bar, signed_percent, write_results
from app.cli.models import find_within, load_model, load_pictures, one_line_errors, part_of
from app.cli.options import DEFAULT_WEIGHTS, Device, Out, SameAlphabet, Seed, Split, Weights

if TYPE_CHECKING:
    from model.baselines.method import Method
    from model.data.omniglot import Drawings
    from model.evaluation.compare import ComparisonRow
    from model.leo import LatentEmbeddingOptimization
    from model.training.config import BaselineTrainConfig


@app.command()
@one_line_errors()
def compare(
    data: Annotated[Path, typer.Option(help="Folder or zip in Omniglot's layout, or of photos as CLASS/IMAGE.jpg.")],
    model: Weights = DEFAULT_WEIGHTS,
    split: Split = "validation",
    way: Annotated[list[str], typer.Option(help="Classes of a task; several as 5,20.")] = ["5,20"],  # noqa: B006
    shot: Annotated[list[str], typer.Option(help="Support images of a class; several as 1,5.")] = ["1,5,10"],  # noqa: B006
    query: Annotated[int, typer.Option(min=1, help="Queries of a class.")] = 10,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks for each way and shot, the same for all methods.")] = 1000,
    within: SameAlphabet = None,
    seed: Seed = 0,
    repeats: Annotated[
        int, typer.Option(min=0, help="How often to time each method's adaptation; 0 on a busy machine.")
    ] = 20,
    baselines: Annotated[
        Path | None,
        typer.Option(help="Folder of the trained baselines.", show_default="baselines/NAME beside the model"),
    ] = None,
    skip: Annotated[
        list[str], typer.Option(help="Methods to leave out, as MAML,Meta-SGD; those two adapt slowly on a CPU.")
    ] = [],  # noqa: B006
    train_baselines: Annotated[
        bool,
        typer.Option(
            "--train-baselines",
            help="First train the baselines on the data's train split, without those in --skip. "
            "An interrupted training continues.",
        ),
    ] = False,
    baseline_steps: Annotated[int, typer.Option(min=1, help="Steps of that training; the default is LEO's.")] = 1500,
    baseline_images: Annotated[int, typer.Option(min=20, help="Images in each step; the default is LEO's.")] = 400,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Compare LEO with what people use instead, on the same tasks and features.

    The methods are prototypes, a logistic head, MAML, Meta-SGD and ANIL.
    For each, the table shows the accuracy, the paired difference to LEO,
    and the time and memory of adapting to one task, features included. The
    JSON also holds the cost without extracting features.

    The last four methods must be trained first (--train-baselines); without
    that they are left out. With --skip one of them can be trained at a time.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler that measures memory logs much
    from model.baselines.folder import read_description
    from model.baselines.registry import LOGISTIC_L2, drawing_methods, photo_methods
    from model.data.omniglot import Drawings
    from model.evaluation.accuracy import Setting
    from model.evaluation.compare import Comparison
    from model.training.config import BaselineTrainConfig

    ways, shots, alphabet = numbers(way, "way"), numbers(shot, "shot"), find_within(within)
    leo, info = load_model(model, device)
    folder = baselines or model.resolve().parent / "baselines" / model.resolve().name
    with console.status(f"reading {data}"):
        pictures = load_pictures([data], leo)
    if isinstance(pictures, Drawings):
        if train_baselines:
            budget = BaselineTrainConfig(steps=baseline_steps, images_per_step=baseline_images, seed=seed)
            origin = {"model_version": info.version, "data": data.name}
            _train_baselines(leo, pictures.split("train"), folder, budget, origin, _skipped(skip))
        description = read_description(folder, info.version)
        if description is None:
            note(
                f"no trained baselines in {folder}: logistic head, MAML, Meta-SGD and ANIL are left out; "
                "--train-baselines trains them"
            )
        methods = drawing_methods(leo, folder, description)
    else:
        if train_baselines:
            fail("--train-baselines is for drawings: leave it out, as the methods for photos need no training")
        description = {"l2": info.card.get("logistic_l2", LOGISTIC_L2)}
        methods = photo_methods(leo, description["l2"])
    methods = _without(_skipped(skip), methods)
    with console.status("extracting features"):
        comparison = Comparison(methods, part_of(pictures, split), leo.config.resolution, leo.alpha.device)
    rows: list[ComparisonRow] = []
    for setting in [Setting(n, (k, k), query, alphabet) for n in ways for k in shots]:
        with console.status(f"{setting.way}-way {setting.shots[0]}-shot"):
            compared = comparison.run(setting, episodes, seed, repeats)
        _print_compared(compared)
        rows += compared
    if out is not None:
        results = {"split": split, "baselines": description, "rows": [row.as_dict() for row in rows]}
        write_results(out, info, data, seed, results)


def _skipped(given: list[str]) -> set[str]:
    """Return the names of methods to leave out, in lower case."""
    return {name.strip().lower() for several in given for name in several.split(",")}


def _without(names: set[str], methods: "list[Method]") -> "list[Method]":
    """Leave out methods by name, which need not be trained. LEO, the first, stays: the others are compared with it."""
    from model.baselines.gradient import KINDS

    known = dict.fromkeys([*(method.name.lower() for method in methods[1:]), *(kind.lower() for kind in KINDS)])
    for name in sorted(names.difference(known)):
        fail(f"--skip {name}: there are {', '.join(known)}")
    return [methods[0], *(method for method in methods[1:] if method.name.lower() not in names)]


def _train_baselines(
    leo: "LatentEmbeddingOptimization",
    training: "Drawings",
    folder: Path,
    budget: "BaselineTrainConfig",
    origin: dict[str, Any],
    skipped: set[str],
) -> None:
    """Train the baselines that need it, show the progress, and write them to the folder.

    What the folder's description says of the skipped ones stays, if they were trained for the same model.
    """
    from model.baselines.folder import read_description, save_description, save_gradient_based
    from model.baselines.gradient import KINDS, GradientBased
    from model.checkpoint import CheckpointError
    from model.evaluation.provenance import machine, today
    from model.training.baselines import meta_train
    from model.training.l2_search import accuracy_by_l2_on_drawings, best_l2

    with console.status("choosing the logistic head's L2 on training classes"):
        tried = accuracy_by_l2_on_drawings(leo, training, seed=budget.seed)
    note(f"logistic head: L2 {best_l2(tried):g}")
    kinds = [kind for kind in KINDS if kind.lower() not in skipped]
    note(f"meta-training {', '.join(kinds)}: {budget.steps} steps of up to {budget.images_per_step} images each")
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bar("loss {task.fields[loss]:.3f}") as bar:
        for kind in kinds:
            shown = bar.add_task(kind, total=budget.steps, loss=0.0)
            method, state = GradientBased(leo, kind), folder / f"{kind.lower()}.state.pt"
            losses: list[float] = []
            for step, loss in meta_train(method, training, leo.config.resolution, budget, leo.alpha.device, state):
                losses = [*losses[-49:], loss]
                mean = sum(losses) / len(losses)
                bar.update(shown, completed=step, loss=mean)
                if not console.is_terminal and step % 50 == 0:
                    note(f"{kind} {step}/{budget.steps} loss {mean:.3f}")
            save_gradient_based(method, folder)
    try:
        before = read_description(folder, origin["model_version"])
    except CheckpointError:  # of another model, whose baselines these replace
        before = None
    steps = (before["steps"] if before else {}) | dict.fromkeys(kinds, budget.steps)
    l2 = {"l2": best_l2(tried), "l2_accuracies": {f"{strength:g}": value for strength, value in tried.items()}}
    trained = {"steps": steps, "budget": budget.model_dump(mode="json"), "date": today(), "machine": machine()}
    save_description(folder, origin | {"training_classes": len(training)} | l2 | trained)


def _print_compared(rows: "list[ComparisonRow]") -> None:
    first, cells = rows[0], []
    for row in rows:
        cost = row.from_pictures
        cells.append(
            (
                row.method,
                percent(row.accuracy, row.ci95),
                "" if row is first else signed_percent(row.difference, row.difference_ci95),
                "-" if cost is None or cost.milliseconds is None else f"{cost.milliseconds:.1f}",
                "-" if cost is None else f"{cost.peak_bytes / 2**20:.2f}",
            )
        )
    alphabet = f" within one {first.within}" if first.within else ""
    print_table(
        ("method", "accuracy, %", "less LEO's", "adapt, ms", "peak, MiB"),
        cells,
        title=f"{first.way}-way {first.shot}-shot{alphabet}, {first.episodes} tasks, {first.query} queries a class",
    )
