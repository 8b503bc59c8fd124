"""`leo evaluate`."""

import json
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
    print_rows,
    ranges,
)

if TYPE_CHECKING:
    from model.data.omniglot import Drawings
    from model.evaluation.sweep import Evaluation


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder or zip in Omniglot's layout, or of Lake's runs.")],
    model: Weights = DEFAULT_WEIGHTS,
    split: Annotated[str, typer.Option(help="all, train or validation (the last two by alphabet).")] = "all",
    way: Annotated[list[str], typer.Option(help="Classes a task; several as 5,20 or by repeating.")] = ["5"],  # noqa: B006
    shot: Annotated[
        list[str], typer.Option(help="Support images a class; several as 1,5. 1-5 draws a number for each class.")
    ] = ["1"],  # noqa: B006
    query: Annotated[
        int | None, typer.Option(min=1, help="Queries a class.", show_default="15, or as many as the shots leave")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks for each way and shot.")] = 1000,
    within: Annotated[str | None, typer.Option(help="alphabet: a task's classes are all of one alphabet.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same tasks, for any model.")] = 0,
    inner_steps: Annotated[
        list[str] | None,
        typer.Option(help="Steps of the inner loop; 0,5 also gives the paired difference on the same tasks."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="episodes, or runs for Lake's 20 one-shot runs.")] = "episodes",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the results there as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Draw the results there as PNG.")] = None,
) -> None:
    """Measure accuracy, with 95 % intervals, on tasks drawn from any folder of pictures.

    Beside it the expected calibration error of the probabilities (ECE), and
    how well queries of the task's classes are told from those of five others
    by their cosine to the nearest class mean (AUROC). The JSON also holds
    reliability data and every other score for telling unknowns.
    """
    from model.allocator import keep_freed_memory
    from model.checkpoint import read_info
    from model.data.omniglot import DataError, Drawings
    from model.evaluation.card import machine, today
    from model.evaluation.lake_runs import evaluate_runs
    from model.evaluation.sweep import Evaluation

    keep_freed_memory()
    if protocol not in ("episodes", "runs"):
        fail(f"no protocol called {protocol!r}; there are episodes and runs")
    if protocol == "runs" and report is not None:
        fail("--report draws episodes, not runs")
    ways, shots, inside = numbers(way, "way"), ranges(shot, "shot"), find_within(within)
    leo = load_leo(model, find_device(device))
    steps = [leo.config.inner_steps] if inner_steps is None else numbers(inner_steps, "inner-steps")
    if min(steps) < 0:
        fail("--inner-steps must not be negative")
    info = read_info(model)
    found: dict[str, Any] = {}
    try:
        if protocol == "runs":
            rows = [evaluate_runs(leo, data, number) for number in steps]
        else:
            with console.status(f"reading {data}"):
                pictures = load_pictures(data, leo).split(split)
            with console.status("extracting features"):
                evaluation = Evaluation(leo, pictures, episodes, seed)
            with console.status("evaluating") as status:
                for setting in evaluation.settings(ways, shots, query, inside):
                    status.update(f"{setting.way}-way, {setting.shots[1]}-shot")
                    evaluation.add(setting, steps)
            rows, found = evaluation.rows, evaluation.as_dict()
            if report is not None:
                if not isinstance(pictures, Drawings):
                    fail("--report shows drawings side by side; for photos there is --out")
                _draw(pictures, evaluation, f"{info.name} {info.version} on {data.name}, {split}", report)
    except DataError as error:
        fail(error)
    print_rows(f"{info.name} {info.version} on {data.name}, {split if protocol == 'episodes' else 'runs'}", rows)
    for difference in found.get("differences", []):
        console.print(
            f"{difference['way']}-way {difference['shot']}-shot: {difference['inner_steps']} steps less "
            f"{difference['against']}: {100 * difference['difference']:+.2f} ± {100 * difference['ci95']:.2f} points",
            highlight=False,
        )
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
        out.write_text(json.dumps(result | found, indent=2) + "\n")


def _draw(drawings: "Drawings", evaluation: "Evaluation", title: str, report: Path) -> None:
    from model.evaluation.plots import draw_report

    with console.status("drawing the report"):
        curves = evaluation.curves()
        report.parent.mkdir(parents=True, exist_ok=True)
        try:
            draw_report(title, evaluation.last_steps, curves, drawings, report)
        except ModuleNotFoundError as error:
            fail(f"--report needs matplotlib: pip install 'leo-service[train]' ({error})")
