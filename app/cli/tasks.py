"""`leo tasks`: what a running server holds, and making, asking and ending it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.classify import Form, examples, pictures, show
from app.cli.common import app, console, fail

if TYPE_CHECKING:
    from app.client import Client, Task

tasks = typer.Typer(
    name="tasks",
    help="Make, ask, list and delete tasks of a running server. LEO_URL and LEO_API_KEY say which server and as whom.",
    no_args_is_help=True,
)
app.add_typer(tasks)

Url = Annotated[str, typer.Option("--url", envvar="LEO_URL", help="The server.")]
TaskId = Annotated[str, typer.Argument(help="A task's id, as `leo tasks list` shows it.")]
HERE = "http://127.0.0.1:8000"


@contextmanager
def server(url: str) -> Iterator["Client"]:
    """A client whose refusals are one line. The key comes from the environment: lists of processes show arguments."""
    import httpx

    from app.client import Client, LeoError

    try:
        with Client(url, key=os.environ.get("LEO_API_KEY")) as client:
            yield client
    except (LeoError, httpx.InvalidURL, httpx.UnsupportedProtocol, OSError) as error:
        fail(error)


@tasks.command("create")
def create(
    support: Annotated[Path, typer.Argument(help="Folder with one folder of pictures for each class.")],
    name: Annotated[str | None, typer.Option(help="A name for the task.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds it lives; for ever if not given.")] = None,
    model: Annotated[str | None, typer.Option(help="Which of the server's models.")] = None,
    url: Url = HERE,
) -> None:
    """Make a task of a folder of examples; prints its id."""
    labels, files = examples(support)
    with server(url) as client:
        task = client.create(zip(labels, files, strict=True), name=name, ttl_seconds=ttl, model=model)
    for suspect in (task.quality or {}).get("suspects", []):
        console.print(
            f"[yellow]worth a look:[/] {files[suspect['index']]} looks more like {suspect['looks_like']}",
            highlight=False,
        )
    typer.echo(task.task_id)


@tasks.command("add")
def add(
    task_id: TaskId,
    support: Annotated[Path, typer.Argument(help="Folder with one folder of pictures for each class.")],
    url: Url = HERE,
) -> None:
    """Add examples of old classes or new ones."""
    labels, files = examples(support, least=1)
    with server(url) as client:
        describe(client.add_support(task_id, zip(labels, files, strict=True)))


@tasks.command("predict")
def predict(
    task_id: TaskId,
    queries: Annotated[
        list[Path], typer.Argument(help="Pictures to classify, or folders of them.", metavar="QUERY...")
    ],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Under this confidence: unknown.")] = 0.0,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 1,
    form: Annotated[Form, typer.Option("--format", help="How to print the answers.")] = Form.TABLE,
    url: Url = HERE,
) -> None:
    """Classify pictures with a task."""
    files = [file for query in queries for file in pictures(query)]
    with server(url) as client:
        said = client.predict(task_id, files, top_k=top, threshold=threshold)
    answers = [
        {
            "file": str(file),
            "label": prediction.label,
            "confidence": round(prediction.confidence, 6),
            "unknown": prediction.unknown,
            "top": [{"label": s.label, "confidence": round(s.confidence, 6)} for s in prediction.top_k],
        }
        for file, prediction in zip(files, said, strict=True)
    ]
    show(answers, form)


@tasks.command("list")
def list_(
    name: Annotated[str | None, typer.Option(help="Only tasks whose name contains this.")] = None,
    label: Annotated[str | None, typer.Option(help="Only tasks with this class.")] = None,
    url: Url = HERE,
) -> None:
    """All tasks of yours, newest first."""
    table = Table("id", "name", "classes", "examples", "model", "made", "lives until")
    with server(url) as client:
        for task in client.tasks(name=name, label=label):
            table.add_row(
                task.task_id,
                task.name or "",
                str(len(task.labels)),
                str(sum(task.shots.values())),
                task.model,
                f"{task.created_at:%Y-%m-%d %H:%M}",
                "" if task.expires_at is None else f"{task.expires_at:%Y-%m-%d %H:%M}",
            )
    Console().print(table)


@tasks.command("show")
def show_task(task_id: TaskId, url: Url = HERE) -> None:
    """One task, its classes and how well they hold together."""
    with server(url) as client:
        describe(client.get(task_id))


@tasks.command("rename")
def rename(task_id: TaskId, name: Annotated[str, typer.Argument(help="The new name.")], url: Url = HERE) -> None:
    """Give a task another name."""
    with server(url) as client:
        client.update(task_id, name=name)


@tasks.command("delete")
def delete(task_ids: Annotated[list[str], typer.Argument(metavar="TASK_ID...")], url: Url = HERE) -> None:
    """Delete tasks, at once and for good."""
    with server(url) as client:
        for task_id in task_ids:
            client.delete(task_id)


@tasks.command("export")
def export(
    task_id: TaskId,
    out: Annotated[Path, typer.Argument(help="FILE.safetensors for the head, FILE.onnx for the whole classifier.")],
    url: Url = HERE,
) -> None:
    """Write a task's head, or the whole classifier, to a file."""
    if out.suffix not in (".safetensors", ".onnx"):
        fail(f"{out}: end the file's name with .safetensors (the head) or .onnx (the whole classifier)")
    with server(url) as client:
        out.write_bytes(client.onnx(task_id) if out.suffix == ".onnx" else client.parameters(task_id))


@tasks.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="FILE.safetensors, as `leo tasks export` wrote it.")],
    name: Annotated[str | None, typer.Option(help="A name for the task.")] = None,
    url: Url = HERE,
) -> None:
    """Make a task from an exported head; prints its id."""
    with server(url) as client:
        typer.echo(client.import_head(file.read_bytes(), name=name).task_id)


def describe(task: "Task") -> None:
    """A task's classes as a table."""
    table = Table("class", "examples", "agree, %", "margin", "nearest", title=f"{task.name or 'task'} {task.task_id}")
    report = (task.quality or {}).get("classes") or [None] * len(task.labels)
    for label, quality in zip(task.labels, report, strict=True):
        agreement = quality and quality["agreement"]
        table.add_row(
            label,
            str(task.shots[label]),
            "" if agreement is None else f"{100 * agreement:.0f}",
            f"{quality['margin']:.2f}" if quality else "",
            quality["nearest"] if quality else "",
        )
    Console().print(table)
