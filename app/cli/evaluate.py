"""`leo evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import DEFAULT_WEIGHTS, Weights, app, console, fail, find_device, load_leo, numbers, print_rows


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
    ways, shots = numbers(way, "way"), numbers(shot, "shot")
    leo = load_leo(model, find_device(device))
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
    print_rows(f"{info.name} {info.version} on {data.name}, {split if protocol == 'episodes' else 'runs'}", rows)
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
