"""`leo evaluate`: measure a model's accuracy on tasks drawn from a folder of pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import app, console, fail, note, numbers, ranges
from app.cli.figures import print_rows, signed_percent, write_results
from app.cli.models import find_within, load_model, load_pictures, one_line_errors, part_of
from app.cli.options import DEFAULT_WEIGHTS, Device, Out, SameAlphabet, Seed, Split, Weights

if TYPE_CHECKING:
    from model.data.omniglot import Drawings
    from model.evaluation.sweep import Sweep


@app.command()
@one_line_errors()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder or zip in Omniglot's layout, or of Lake's runs.")],
    model: Weights = DEFAULT_WEIGHTS,
    split: Split = "all",
    way: Annotated[list[str], typer.Option(help="Classes of a task; several as 5,20 or by repeating.")] = ["5"],  # noqa: B006
    shot: Annotated[
        list[str],
        typer.Option(help="Support images of a class; several as 1,5. 1-5 draws a number for each class."),
    ] = ["1"],  # noqa: B006
    query: Annotated[
        int | None, typer.Option(min=1, help="Queries of a class.", show_default="15, or as many as the shots leave")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks for each way and shot.")] = 1000,
    within: SameAlphabet = None,
    seed: Seed = 0,
    inner_steps: Annotated[
        list[str] | None,
        typer.Option(help="Steps of the inner loop. 0,5 also gives the paired difference on the same tasks."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="episodes, or runs for Lake's 20 one-shot runs.")] = "episodes",
    device: Device = "auto",
    out: Out = None,
    report: Annotated[Path | None, typer.Option(help="Draw the results into this PNG file.")] = None,
) -> None:
    """Measure accuracy, with 95 % intervals, on tasks drawn from a folder of pictures.

    ECE is the expected calibration error of the probabilities. AUROC says
    how well `known` tells queries of the task's classes from those of five
    other classes, and "foreign at 5 %" how many of those others pass if 5 %
    of the task's own are rejected. A model that is not calibrated for it is
    judged by the cosine to the nearest class mean. The JSON also holds
    reliability data and the AUROC of other scores.
    """
    from model.data.omniglot import Drawings
    from model.evaluation.lake_runs import evaluate_runs
    from model.evaluation.sweep import Sweep

    if protocol not in ("episodes", "runs"):
        fail(f"no protocol called {protocol!r}; there are episodes and runs")
    if protocol == "runs" and report is not None:
        fail("--report draws episodes: leave it out with --protocol runs")
    ways, shots, alphabet = numbers(way, "way"), ranges(shot, "shot"), find_within(within)
    leo, info = load_model(model, device)
    steps = [leo.config.inner_steps] if inner_steps is None else numbers(inner_steps, "inner-steps")
    if min(steps) < 0:
        fail("--inner-steps must not be negative")
    more: dict[str, Any] = {}
    if protocol == "runs":
        rows = [evaluate_runs(leo, data, number) for number in steps]
        title = f"{info.name} {info.version} on {data.name}, runs"
    else:
        title = f"{info.name} {info.version} on {data.name}, {split}"
        with console.status(f"reading {data}"):
            pictures = part_of(load_pictures([data], leo), split)
        with console.status("extracting features"):
            sweep = Sweep(leo, pictures, episodes, seed)
        for setting in sweep.make_settings(ways, shots, query, alphabet):
            with console.status(f"{setting.way}-way, {setting.shots[1]}-shot"):
                sweep.run(setting, steps)
        rows, more = sweep.rows, sweep.as_dict()
        if report is not None:
            if not isinstance(pictures, Drawings):
                fail("--report shows drawings side by side: leave it out for photos, or use --out")
            _draw_report(report, title, pictures, sweep)
    print_rows(title, rows)
    for difference in more.get("differences", []):
        note(
            f"{difference['way']}-way {difference['shot']}-shot: {difference['inner_steps']} steps less "
            f"{difference['against']}: {signed_percent(difference['difference'], difference['ci95'])} points"
        )
    if out is not None:
        results = {"split": split if protocol == "episodes" else None, "protocol": protocol}
        write_results(out, info, data, seed, results | {"rows": [row.as_dict() for row in rows]} | more)


def _draw_report(report: Path, title: str, drawings: "Drawings", sweep: "Sweep") -> None:
    from model.evaluation.plots import draw_plots

    with console.status("drawing the report"):
        curves = sweep.curves()
        report.parent.mkdir(parents=True, exist_ok=True)
        try:
            draw_plots(title, sweep.last_steps, curves, drawings, report)
        except ModuleNotFoundError as error:
            fail(f"--report needs matplotlib: pip install matplotlib ({error})")
