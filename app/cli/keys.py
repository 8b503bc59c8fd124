"""`leo keys`: who may use the service."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.common import app, console, fail

if TYPE_CHECKING:
    from app.http.keys import KeyFile

keys = typer.Typer(no_args_is_help=True, help="Make, list and remove keys; a running service sees changes at once.")
app.add_typer(keys, name="keys")

File = Annotated[
    Path | None, typer.Option("--file", help="The file of keys.", show_default="LEO_KEYS_FILE or keys.json")
]


def _open(given: Path | None) -> "tuple[Path, KeyFile]":
    from app.http.keys import KeyFileError, read_keys

    path = given or Path(os.environ.get("LEO_KEYS_FILE") or "keys.json")
    try:
        return path, read_keys(path)
    except KeyFileError as error:
        fail(error)


def _write(path: Path, kept: "KeyFile") -> None:
    from app.http.keys import write_keys

    try:
        write_keys(path, kept)
    except OSError as error:
        fail(f"cannot write {path}: {error}")


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call the key: letters, digits, '_', '.', '-'.")],
    owner: Annotated[
        str | None, typer.Option(help="Whose tasks it makes and sees; keys may share one.", show_default="its name")
    ] = None,
    right: Annotated[
        list[str] | None, typer.Option(help="read, write or metrics; repeat it.", show_default="read and write")
    ] = None,
    max_tasks: Annotated[int | None, typer.Option(help="Most live tasks.", show_default="no limit")] = None,
    per_second: Annotated[
        float | None,
        typer.Option(help="Most requests a second, at each replica (its workers together).", show_default="no limit"),
    ] = None,
    file: File = None,
) -> None:
    """Make a key and print it, once: only its salted hash is kept."""
    from pydantic import ValidationError

    from app.http.keys import new_key
    from app.problems import describe_validation_errors

    path, kept = _open(file)
    if any(key.name == name for key in kept.keys):
        fail(f"there is a key called {name} in {path}; remove it first, or take another name")
    try:
        key, presented = new_key(name, owner or name, right or ["read", "write"], max_tasks, per_second)  # type: ignore[arg-type]
    except ValidationError as error:
        fail(describe_validation_errors(error.errors()))
    kept.keys.append(key)
    _write(path, kept)
    console.print(f"key {name} of {key.owner} is in {path}; this is the only time it is shown:", highlight=False)
    typer.echo(presented)


@keys.command("list")
def list_keys(file: File = None) -> None:
    """List keys: never the keys themselves."""
    path, kept = _open(file)
    table = Table(title=str(path))
    for column in ("name", "owner", "begins with", "rights", "most tasks", "a second"):
        table.add_column(column)
    for key in kept.keys:
        most, rate = (str(limit or "-") for limit in (key.max_tasks, key.per_second))
        table.add_row(key.name, key.owner, f"leo_{key.id}_", ", ".join(key.rights), most, rate)
    Console().print(table)


@keys.command()
def remove(name: Annotated[str, typer.Argument(help="Which key.")], file: File = None) -> None:
    """Remove a key: it is refused from now on. Its owner's tasks stay."""
    path, kept = _open(file)
    left = [key for key in kept.keys if key.name != name]
    if len(left) == len(kept.keys):
        fail(f"there is no key called {name} in {path}")
    _write(path, type(kept)(keys=left))
    console.print(f"removed {name} from {path}", highlight=False)
