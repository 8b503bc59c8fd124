"""What the commands share: the console, one-line errors, and how a model is found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from model.evaluation.accuracy import Pictures, Row, Within
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
DEFAULT_WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "omniglot"


def fail(message: object) -> NoReturn:
    """One line that says what is wrong, and exit code 1."""
    console.print(f"[bold red]error:[/] {message}", highlight=False)
    raise typer.Exit(1)


def numbers(given: list[str], what: str) -> list[int]:
    try:
        return [int(number) for text in given for number in text.split(",")]
    except ValueError:
        fail(f"--{what} {' '.join(given)}: give whole numbers, as in --{what} 5,20")


def ranges(given: list[str], what: str) -> list[tuple[int, int]]:
    """5 -> (5, 5), 1-5 -> (1, 5)."""
    pairs = []
    for text in (part for several in given for part in several.split(",")):
        low, dash, high = text.partition("-")
        try:
            pairs.append((int(low), int(high if dash else low)))
        except ValueError:
            fail(f"--{what} {text}: give whole numbers or ranges, as in --{what} 1,5,1-5")
    return pairs


def find_within(name: str | None) -> "Within | None":
    if name not in (None, "alphabet"):
        fail(f"--within {name}: tasks may be within one alphabet, or, without --within, of any classes")
    return "alphabet" if name else None


def find_device(name: str) -> Any:
    from model.devices import choose

    try:
        return choose(name)
    except ValueError as error:
        fail(error)


def load_pictures(paths: "Path | list[Path]", leo: "LatentEmbeddingOptimization") -> "Pictures":
    """Drawings or photos, whichever the model is for. Raises `DataError`."""
    from model.data.omniglot import DataError, load_drawings
    from model.data.photos import load_photos

    several = paths if isinstance(paths, list) else [paths]
    if leo.config.pretrained is not None:
        return load_photos(*several)
    if len(several) > 1:
        raise DataError("drawings come from one folder or zip; only photos may come from several")
    return load_drawings(several[0])


def load_leo(folder: Path, device: Any) -> "LatentEmbeddingOptimization":
    from model.backbones import BackboneError
    from model.checkpoint import CheckpointError
    from model.leo import LatentEmbeddingOptimization

    try:
        return LatentEmbeddingOptimization.from_pretrained(folder, device)
    except (CheckpointError, BackboneError) as error:
        fail(error)


def print_rows(title: str, rows: "list[Row]") -> None:
    table = Table(title=title)
    for column in ("way", "shot", "queries", "episodes", "steps", "accuracy, %", "ECE, %", "AUROC"):
        table.add_column(column, justify="right")
    for r in rows:
        table.add_row(
            str(r.way),
            str(r.shot),
            str(r.query),
            str(r.episodes),
            str(r.inner_steps),
            f"{100 * r.accuracy:.2f} ± {100 * r.ci95:.2f}",
            "-" if r.ece is None else f"{100 * r.ece:.1f}",
            "-" if r.auroc is None else f"{r.auroc:.3f}",
        )
    Console().print(table)


def print_card(title: str, found: dict[str, Any]) -> None:
    """What `model.evaluation.card.validate` found, as a table."""
    from model.evaluation.accuracy import Row

    print_rows(title, [Row(**row) for row in found["rows"]])
    for gain in found["differences"]:
        where = f"{gain['way']}-way {gain['shot']}-shot{', one alphabet' if gain['within'] else ''}"
        added = f"{100 * gain['difference']:+.2f} ± {100 * gain['ci95']:.2f}"
        console.print(f"{where}: {gain['inner_steps']} steps add {added} points", highlight=False)


def print_photo_card(title: str, found: dict[str, Any]) -> None:
    """What `model.evaluation.photo_card.validate_photos` found, a table for each source of photos."""
    from model.evaluation.photo_card import best_baseline

    for source in found["sources"]:
        names = [one["method"] for one in source["rows"][0]["methods"]]
        table = Table(title=f"{title}: {source['source']}, {found['episodes']} tasks a row")
        for column in ("way", "shot", *names, "LEO less the best", "ECE, %", "AUROC"):
            table.add_column(column, justify="right")
        for row in source["rows"]:
            best = best_baseline(row)
            table.add_row(
                str(row["way"]),
                str(row["shot"]),
                *(f"{100 * one['accuracy']:.2f}" for one in row["methods"]),
                f"{-100 * best['difference']:+.2f} ± {100 * best['difference_ci95']:.2f}",
                f"{100 * row['ece']:.1f}",
                "-" if row["auroc"] is None else f"{row['auroc']:.3f}",
            )
        Console(width=120).print(table)
