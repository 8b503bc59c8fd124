"""Tables and JSON of measured figures, and the progress bar of training: output of the commands that run a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.common import console, note, print_table, write_json

if TYPE_CHECKING:
    from rich.progress import Progress

    from model.checkpoint import ModelInfo
    from model.evaluation.accuracy import AccuracyRow


def print_rows(title: str, rows: "list[AccuracyRow]") -> None:
    """Print the accuracy of each setting as a table."""
    columns = ("way", "shot", "queries", "episodes", "steps", "accuracy, %", "ECE, %", "AUROC", "foreign at 5 %, %")
    cells = [
        (
            str(row.way),
            str(row.shot),
            str(row.query),
            str(row.episodes),
            str(row.inner_steps),
            percent(row.accuracy, row.ci95),
            "-" if row.ece is None else f"{100 * row.ece:.1f}",
            "-" if row.auroc is None else f"{row.auroc:.3f}",
            "-" if row.foreign_accepted is None else f"{100 * row.foreign_accepted:.1f}",
        )
        for row in rows
    ]
    print_table(columns, cells, title=title, text_columns=0)


def print_card(title: str, validation: dict[str, Any]) -> None:
    """Print what `model.evaluation.drawing_card.measure_drawing_figures` measured."""
    from model.evaluation.accuracy import AccuracyRow

    print_rows(title, [AccuracyRow(**row) for row in validation["rows"]])
    for gain in validation["differences"]:
        alphabet = ", one alphabet" if gain["within"] else ""
        added = signed_percent(gain["difference"], gain["ci95"])
        note(f"{gain['way']}-way {gain['shot']}-shot{alphabet}: {gain['inner_steps']} steps add {added} points")


def print_photo_card(title: str, validation: dict[str, Any]) -> None:
    """Print what `model.evaluation.photo_card.measure_photo_figures` measured, a table for each source of photos."""
    from model.evaluation.photo_card import best_baseline

    for source in validation["sources"]:
        names = [method["method"] for method in source["rows"][0]["methods"]]
        cells = []
        for row in source["rows"]:
            best = best_baseline(row)
            cells.append(
                (
                    str(row["way"]),
                    str(row["shot"]),
                    *(f"{100 * method['accuracy']:.2f}" for method in row["methods"]),
                    signed_percent(-best["difference"], best["difference_ci95"]),
                    f"{100 * row['ece']:.1f}",
                    "-" if row["auroc"] is None else f"{row['auroc']:.3f}",
                    "-" if row.get("foreign_accepted") is None else f"{100 * row['foreign_accepted']:.1f}",
                )
            )
        print_table(
            ("way", "shot", *names, "LEO's lead over the best baseline", "ECE, %", "AUROC", "foreign at 5 %, %"),
            cells,
            title=f"{title}: {source['source']}, {validation['episodes']} tasks a row",
            text_columns=0,
        )


def percent(share: float, ci95: float) -> str:
    """0.981, 0.002 -> 98.10 ± 0.20."""
    return f"{100 * share:.2f} ± {100 * ci95:.2f}"


def signed_percent(share: float, ci95: float) -> str:
    """Format a difference of accuracies and its interval: 0.012, 0.002 -> +1.20 ± 0.20."""
    return f"{100 * share:+.2f} ± {100 * ci95:.2f}"


def write_results(path: Path, info: "ModelInfo", data: Path, seed: int, results: dict[str, Any]) -> None:
    """Write measured figures as JSON, with the model, data, day and machine they belong to."""
    from model.evaluation.provenance import machine, today

    origin = {"model": info.name, "model_version": info.version, "data": data.name, "seed": seed}
    write_json(path, origin | {"date": today(), "machine": machine()} | results)


def progress_bar(figures: str) -> "Progress":
    """Return a progress bar that also shows `figures`, a format of the fields of its tasks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(figures))
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
