"""What the commands share: the console, one-line errors, and how a model is found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
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


def find_device(name: str) -> Any:
    from model.devices import choose

    try:
        return choose(name)
    except ValueError as error:
        fail(error)


def load_leo(folder: Path, device: Any) -> "LatentEmbeddingOptimization":
    from model.checkpoint import CheckpointError
    from model.leo import LatentEmbeddingOptimization

    try:
        return LatentEmbeddingOptimization.from_pretrained(folder, device)
    except CheckpointError as error:
        fail(error)


def print_rows(title: str, rows: "list[Row]") -> None:
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
