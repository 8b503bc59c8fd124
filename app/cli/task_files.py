"""`leo tasks export` and `leo tasks import`: tasks of a running server as files and folders."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import fail
from app.cli.task_ids import TaskId, full_id
from app.cli.tasks import LOCAL, Url, print_id_of_new, server, tasks

if TYPE_CHECKING:
    from leo_client import Client


MOST_BYTES = 2**25  # of what is imported, where the server has no model to tell its limit
FILES = (".zip", ".safetensors", ".onnx")


@tasks.command("export")
def export(
    task_id: TaskId,
    out: Annotated[
        Path,
        typer.Argument(
            help="FILE.zip for the whole task, FILE.safetensors for the head, FILE.onnx for the whole classifier, or "
            "a new FOLDER for the classifier with a page that runs it in a browser and a Python file."
        ),
    ],
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the npm package onnxruntime-web, such as node_modules/onnxruntime-web: what the page in "
            "FOLDER needs of it is copied there.",
            show_default="the page says what it needs",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite FILE, or the files of that name in FOLDER, if it is there.")
    ] = False,
    url: Url = LOCAL,
) -> None:
    """Write a task, its head, or the whole classifier, to a file or a folder.

    What is there already is not overwritten without --force; the exit
    status is then 1.
    """
    suffix = out.suffix.lower()
    if suffix in FILES:
        if runtime:
            fail("--runtime belongs to a FOLDER")
        if out.is_dir():
            fail(f"{out} is a folder: choose another name")
        if os.path.lexists(out) and not force:  # also a link that leads nowhere
            fail(f"{out} is there already: choose another name, or overwrite it with --force")
        if not out.parent.is_dir():
            fail(f"{out.parent} is no folder: make it first")
        with server(url) as client:
            kinds = {".zip": client.export, ".safetensors": client.parameters, ".onnx": client.onnx}
            content = kinds[suffix](full_id(client, task_id))
            with out.open("wb" if force else "xb") as file:  # x: it may have been made meanwhile
                file.write(content)
    elif str(out) == "-":
        fail("a task is not written to standard output: name a file or a new folder")
    elif out.suffix or (os.path.lexists(out) and not out.is_dir()):  # a file, a device, a link that leads nowhere
        fail(
            f"{out}: choose a name that ends in .zip (the task), .safetensors (the head) or .onnx (the whole "
            "classifier), or a folder"
        )
    else:
        with server(url) as client:
            _export_folder(client, full_id(client, task_id), out, runtime, force)


def _export_folder(client: "Client", task_id: str, folder: Path, runtime: Path | None, force: bool) -> None:
    from app.tasks.standalone import RUNTIME, unpack

    missing = [source for source in RUNTIME if runtime and not (runtime / source).is_file()]
    if missing:
        fail(f"{runtime} has no {missing[0]}: install it with npm install onnxruntime-web")
    if folder.exists() and any(folder.iterdir()) and not force:
        fail(f"{folder} is not empty: choose a new folder, or overwrite its files with --force")
    files = unpack(client.standalone(task_id))
    if runtime:
        files |= {name: (runtime / source).read_bytes() for source, name in RUNTIME.items()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@tasks.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="FILE.zip or FILE.safetensors, as `leo tasks export` wrote it.")],
    name: Annotated[str | None, typer.Option(help="A name for the task.", show_default="a task keeps its own")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of one of the server's models, to make the task anew with from the pictures in FILE.zip.",
            show_default="the task's own",
        ),
    ] = None,
    url: Url = LOCAL,
) -> None:
    """Make a task from an exported task or head, and print its id."""
    from model.regular_files import read_regular

    if not file.exists():
        fail(f"there is no {file}: give a FILE.zip or FILE.safetensors, as `leo tasks export` wrote it")
    if file.is_dir():
        fail(f"{file} is a folder: give a FILE.zip or FILE.safetensors, as `leo tasks export` wrote it")
    with server(url) as client:
        most = min((each.limits.max_body_bytes for each in client.models()), default=MOST_BYTES)
        try:
            data = read_regular(file, most)
        except OSError as error:
            fail(f"{file} cannot be imported: {error.strerror or error}")
        if data.startswith(b"PK"):
            task = client.import_task(data, name=name, model=model)
        elif model is None:
            task = client.import_head(data, name=name)
        else:
            fail("--model needs a FILE.zip with pictures")
        print_id_of_new(client, task)
