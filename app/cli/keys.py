"""`leo keys`: make, list and remove the keys that callers of the service present."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import Format, app, fail, is_of_output, note, print_rows
from app.cli.options import FormatOption

if TYPE_CHECKING:
    from app.http.keys import KeyFile

keys = typer.Typer(no_args_is_help=True, help="Make, list and remove keys. A running service sees changes at once.")
app.add_typer(keys, name="keys")

File = Annotated[
    Path | None, typer.Option("--file", help="The file of keys.", show_default="LEO_KEYS_FILE or keys.json")
]


def _path(given: Path | None) -> Path:
    return given or Path(os.environ.get("LEO_KEYS_FILE") or "keys.json")


def _read(path: Path) -> "KeyFile":
    from app.http.keys import KeyFileError, read_keys

    try:
        return read_keys(path)
    except KeyFileError as error:
        fail(error)


@contextmanager
def _changing(path: Path) -> "Iterator[KeyFile]":
    """The content of a key file, written back if nothing failed. Other commands that change it wait meanwhile."""
    from app.http.keys import changing_keys, write_keys

    try:
        with changing_keys(path):
            content = _read(path)
            yield content
            write_keys(path, content)
    except OSError as error:
        if is_of_output(error):
            raise
        fail(f"cannot write {path}: {error}")


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the key: letters, digits, '_', '.', '-'.")],
    owner: Annotated[
        str | None,
        typer.Option(help="The owner of the tasks made with it. Several keys may share one.", show_default="its name"),
    ] = None,
    right: Annotated[
        list[str] | None,
        typer.Option(help="read, write or metrics; repeat it for several.", show_default="read and write"),
    ] = None,
    max_tasks: Annotated[
        int | None, typer.Option(help="How many live tasks it may have.", show_default="no limit")
    ] = None,
    per_second: Annotated[
        float | None,
        typer.Option(
            help="How many requests a second it may send to each replica, whose workers count together.",
            show_default="no limit",
        ),
    ] = None,
    file: File = None,
) -> None:
    """Make a key and print it. It is shown only once: the file keeps a salted hash of it."""
    from pydantic import ValidationError

    from app.http.keys import new_key
    from app.problems import describe_validation_errors

    path = _path(file)
    with _changing(path) as content:
        if any(key.name == name for key in content.keys):
            fail(f"there is a key called {name} in {path}; remove it first, or choose another name")
        try:
            key, presented = new_key(name, owner or name, right or ["read", "write"], max_tasks, per_second)  # type: ignore[arg-type]
        except ValidationError as error:
            fail(describe_validation_errors(error.errors()))
        content.keys.append(key)
        typer.echo(presented)  # first: a key that could not be shown must not be in the file
        sys.stdout.flush()
    note(f"added the key {name} of {key.owner} to {path}; this is the only time it is shown")


@keys.command("list")
def list_keys(file: File = None, form: FormatOption = Format.TABLE) -> None:
    """List keys by name, owner and rights; the keys themselves are not in the file."""
    path = _path(file)
    if not path.exists():
        fail(f"there is no {path}: make a key with leo keys add NAME --file {path}, or name another file")
    content = _read(path)
    rows = [
        (
            key.name,
            key.owner,
            f"leo_{key.id}_",
            ", ".join(key.rights),
            key.max_tasks,
            key.per_second,
        )
        for key in content.keys
    ]
    columns = ("name", "owner", "begins with", "rights", "max tasks", "per second")
    print_rows(form, columns, rows, title=str(path), text_columns=4)


@keys.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the key.")], file: File = None) -> None:
    """Remove a key. The service refuses it at once; its owner's tasks stay."""
    path = _path(file)
    with _changing(path) as content:
        left = [key for key in content.keys if key.name != name]
        if len(left) == len(content.keys):
            fail(f"there is no key called {name} in {path}; list them with: leo keys list --file {path}")
        content.keys = left
    note(f"removed key {name} from {path}")
