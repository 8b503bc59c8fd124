"""`leo tasks`: make, ask, list and delete the tasks of a running server."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.cli.common import Format, app, fail, is_of_output, note, print_rows
from app.cli.options import FormatOption, Negatives, Queries, Reject, Support, Threshold, Top
from app.cli.predictions import (
    LEFT_OUT_STATUS,
    Answers,
    chunks,
    counting,
    find_examples,
    find_queries,
    warn_of_suspect,
)
from app.cli.task_ids import TaskId, full_id

if TYPE_CHECKING:
    from leo_client import Client, Prediction, ProblemError, Task
    from model.data.sources import File

Item = TypeVar("Item")

tasks = typer.Typer(
    name="tasks",
    help="Make, ask, list and delete tasks of a running server. LEO_URL is its address, LEO_API_KEY your key.",
    no_args_is_help=True,
)
app.add_typer(tasks)

Url = Annotated[str, typer.Option("--url", envvar="LEO_URL", help="Address of the server.")]
AT_ONCE = 16  # pictures that one request asks about
LOCAL = "http://127.0.0.1:8000"


@contextmanager
def server(url: str) -> Iterator["Client"]:
    """Open a client whose errors are printed as one line.

    The key comes from the environment alone: every user of a machine sees the arguments of its processes.
    """
    import httpx

    from leo_client import Client, LeoError

    try:
        with Client(url, key=os.environ.get("LEO_API_KEY")) as client:
            yield client
    except (LeoError, httpx.InvalidURL, OSError, ValueError) as error:  # ValueError: an argument that names nothing
        if is_of_output(error) or (isinstance(error, OSError) and error.filename is not None):
            raise  # `main` says what it is of
        fail(error)


@tasks.command("create")
def create(
    support: Support,
    name: Annotated[str | None, typer.Option(help="A name for the task.")] = None,
    ttl: Annotated[
        int | None, typer.Option(min=1, help="Seconds until the task is deleted.", show_default="it stays")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of one of the server's models.", show_default="the server chooses")
    ] = None,
    keep_images: Annotated[
        bool, typer.Option("--keep-images", help="Store small copies of the pictures, for `leo tasks export`.")
    ] = False,
    negatives: Negatives = None,
    url: Url = LOCAL,
) -> None:
    """Make a task from a folder of examples and print its id."""
    labels, files, of_none = find_examples(support, negatives)
    with server(url) as client, naming_the_file([*files, *of_none]):
        task = client.create(
            read_examples(labels, files),
            name=name,
            ttl_seconds=ttl,
            model=model,
            keep_images=keep_images,
            negatives=read_pictures(of_none),
        )
        print_id_of_new(client, task)
    for suspect in task.quality.suspects if task.quality else []:
        warn_of_suspect(files[suspect.index], suspect.looks_like)


@tasks.command("add")
def add(task_id: TaskId, support: Support, negatives: Negatives = None, url: Url = LOCAL) -> None:
    """Add examples of old or new classes to a task, or of none.

    SUPPORT may hold nothing but a folder `_negatives`.
    """
    labels, files, of_none = find_examples(support, negatives, min_classes=0)
    with server(url) as client, naming_the_file([*files, *of_none]):
        task_id = full_id(client, task_id)
        changed = client.add_support(task_id, read_examples(labels, files), negatives=read_pictures(of_none))
    with telling_of_a_change():
        print_task(changed)


@tasks.command("predict")
def predict(
    task_id: TaskId,
    queries: Queries,
    reject: Reject = 0.05,
    threshold: Threshold = 0.0,
    top: Top = 1,
    form: FormatOption = Format.TABLE,
    url: Url = LOCAL,
) -> None:
    """Classify pictures with a task. Answers are printed as they come.

    Exit status: 0 if every picture was answered, 3 if some could not be
    read and the others were answered, 1 if there is no answer at all.
    """
    files, all_usable = find_queries(queries)
    answered = 0
    with server(url) as client, Answers(form, several=top > 1) as answers:
        task_id = full_id(client, task_id)
        with counting(len(files)) as count:
            for some in chunks(files, AT_ONCE):
                read, predictions = _predict(client, task_id, some, top, reject, threshold)
                answers.write(read, predictions)
                answered += len(read)
                count(len(some))
    if answered < len(files) or not all_usable:
        raise typer.Exit(LEFT_OUT_STATUS if answered else 1)


@tasks.command("list")
def list_(
    name: Annotated[str | None, typer.Option(help="Only tasks whose name contains this.")] = None,
    label: Annotated[str | None, typer.Option(help="Only tasks that have this class.")] = None,
    form: FormatOption = Format.TABLE,
    url: Url = LOCAL,
) -> None:
    """List your tasks, newest first."""
    when = "%Y-%m-%d %H:%M" if form is Format.TABLE else "%Y-%m-%dT%H:%M:%SZ"
    with server(url) as client:
        rows = [
            (
                task.task_id,
                task.name,
                task.model,
                f"{task.created_at.astimezone(UTC):{when}}",
                None if task.expires_at is None else f"{task.expires_at.astimezone(UTC):{when}}",
                len(task.labels),
                sum(task.shots.values()),
            )
            for task in client.tasks(name=name, label=label)
        ]
    print_rows(form, ("id", "name", "model", "created", "expires", "classes", "examples"), rows, text_columns=5)


@tasks.command("show")
def show(task_id: TaskId, form: FormatOption = Format.TABLE, url: Url = LOCAL) -> None:
    """Show a task's classes and how well the examples of each agree."""
    with server(url) as client:
        print_task(client.get(full_id(client, task_id)), form)


@tasks.command("rename")
def rename(task_id: TaskId, name: Annotated[str, typer.Argument(help="The new name.")], url: Url = LOCAL) -> None:
    """Give a task another name."""
    with server(url) as client:
        client.update(full_id(client, task_id), name=name)


@tasks.command("delete")
def delete(task_ids: Annotated[list[str], typer.Argument(metavar="TASK_ID...")], url: Url = LOCAL) -> None:
    """Delete tasks, at once and for good."""
    with server(url) as client:
        found = list(dict.fromkeys(full_id(client, given) for given in task_ids))
        for task_id in found:  # before any is deleted
            client.get(task_id)
        one_by_one(found, client.delete)


def print_id_of_new(client: "Client", task: "Task") -> None:
    """Print the id of a new task. If it cannot be printed the task is deleted, since nobody would know its id."""
    try:
        typer.echo(task.task_id)
        sys.stdout.flush()
    except OSError:
        client.delete(task.task_id)
        raise


@contextmanager
def telling_of_a_change() -> Iterator[None]:
    """Print what a change came to. If that cannot be written, say that the change is made, and exit with status 3."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not is_of_output(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would fail once more when it ends
        reason = f"the change is made, but what it came to cannot be written: {error.strerror}"
        note(reason, heading="error: ", style="bold red")
        raise typer.Exit(LEFT_OUT_STATUS) from error


def one_by_one(items: Iterable[Item], change: Callable[[Item], object]) -> None:
    """Change or remove several things. If one fails after others, say how many are done, and exit with status 3."""
    from leo_client import LeoError

    for done, item in enumerate(items):
        try:
            change(item)
        except LeoError as error:
            if not done:
                raise
            note(f"{item}: {error}; the {done} before it are done", heading="error: ", style="bold red")
            raise typer.Exit(LEFT_OUT_STATUS) from error


def read_examples(labels: list[str], files: "list[File]") -> list[tuple[str, bytes]]:
    """Read files to pairs of label and image. One that cannot be read ends the command."""
    return list(zip(labels, read_pictures(files), strict=True))


def read_pictures(files: "list[File]") -> list[bytes]:
    """Read files. One that cannot be read ends the command."""
    from model.data.sources import DataError

    try:
        return [file.read() for file in files]
    except DataError as error:
        fail(error)


@contextmanager
def naming_the_file(files: "list[File]") -> Iterator[None]:
    """Name the file if the server refuses one of the pictures."""
    from leo_client import ProblemError

    try:
        yield
    except ProblemError as error:
        if error.index is None or error.index >= len(files):
            raise
        fail(f"{files[error.index]}: {_without_number(error)}; no task was changed or made")


def _without_number(error: "ProblemError") -> str:
    """What is wrong with an image that is named by its file: its number in the request says nothing to the reader."""
    return error.detail.removeprefix(f"image {error.index} ")


def _predict(
    client: "Client", task_id: str, files: "list[File]", top: int, reject: float, threshold: float
) -> "tuple[list[File], list[Prediction]]":
    """Ask for some files at once, without those that cannot be read, and say which these are."""
    from leo_client import ProblemError
    from model.data.sources import DataError

    read: dict[File, bytes] = {}
    for file in files:
        try:
            read[file] = file.read()
        except DataError as error:
            note(error, heading="error: ", style="bold red")
    while read:
        try:
            limits = {"reject": reject, "threshold": threshold}
            return list(read), client.predict(task_id, list(read.values()), top_k=top, **limits)
        except ProblemError as error:
            if error.index is None or error.index >= len(read):
                raise
            refused = list(read)[error.index]
            note(f"{refused}: {_without_number(error)}", heading="error: ", style="bold red")
            del read[refused]
    return [], []


def print_task(task: "Task", form: Format = Format.TABLE) -> None:
    """Print a task's classes."""
    classes = task.quality.classes if task.quality else [None] * len(task.labels)
    rows: list[tuple[object, ...]] = []
    for label, quality in zip(task.labels, classes, strict=True):
        agreement, margin = (quality.agreement, quality.margin) if quality else (None, None)
        if form is Format.TABLE:
            shown = "" if agreement is None else f"{100 * agreement:.0f}", "" if margin is None else f"{margin:.2f}"
            rows.append((label, quality.nearest if quality else "", task.shots[label], *shown))
        else:
            rows.append((label, quality.nearest if quality else None, task.shots[label], agreement, margin))
    columns = ["class", "nearest class", "examples", "agreement, %", "margin"]
    if form is not Format.TABLE:
        columns[3] = "agreement"
    print_rows(form, columns, rows, title=f"{task.name or 'task'} {task.task_id}", text_columns=2)
