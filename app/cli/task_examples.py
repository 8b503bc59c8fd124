"""`leo tasks examples`, `remove`, `relabel` and the like: what a task of a running server learned from, one by one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Format, fail, print_rows
from app.cli.options import FormatOption
from app.cli.task_ids import TaskId, full_id
from app.cli.tasks import LOCAL, Url, one_by_one, print_task, server, tasks, telling_of_a_change

Index = Annotated[int, typer.Argument(metavar="N", min=0, help="An example's number, see `leo tasks examples`.")]


@tasks.command("examples")
def examples(task_id: TaskId, form: FormatOption = Format.TABLE, url: Url = LOCAL) -> None:
    """List a task's examples, and which of them look mislabelled."""
    with server(url) as client:
        found = client.examples(full_id(client, task_id))
    if form is Format.JSON:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
        return
    rows = [
        (
            each.label,
            each.nearest,
            "looks mislabelled" if each.suspect else "",
            each.index,
            f"{each.margin:.2f}",
            ", ".join(map(str, each.near_duplicates)),
        )
        for each in found
    ]
    print_rows(form, ("class", "nearest class", "verdict", "number", "margin", "same as"), rows, text_columns=3)


@tasks.command("feedback")
def feedback(
    task_id: TaskId,
    predicted: Annotated[str, typer.Argument(help="The class that was answered.")],
    label: Annotated[str, typer.Argument(help="The right one; it may be a new one.")],
    picture: Annotated[
        Path | None, typer.Argument(help="The picture, to add it to the examples.", show_default="it is only counted")
    ] = None,
    url: Url = LOCAL,
) -> None:
    """Say whether an answer was right, and teach by its picture if it was not."""
    with server(url) as client:
        answer = (predicted, label) if picture is None else (predicted, label, picture)
        counts = client.feedback(full_id(client, task_id), [answer]).feedback
    with telling_of_a_change():
        typer.echo(f"of {counts.judged} judged answers {counts.right} were right")


@tasks.command("remove")
def remove(
    task_id: TaskId,
    numbers: Annotated[
        list[int], typer.Argument(metavar="N...", min=0, help="Examples' numbers, see `leo tasks examples`.")
    ],
    url: Url = LOCAL,
) -> None:
    """Remove examples; the task adapts again to the others."""
    with server(url) as client:
        task_id, numbers = full_id(client, task_id), list(dict.fromkeys(numbers))
        there = {each.index for each in client.examples(task_id)}
        for number in numbers:  # before any is removed
            if number not in there:
                fail(f"the task has no example {number}, see leo tasks examples")
        one_by_one(numbers, lambda number: client.remove_example(task_id, number))
        task = client.get(task_id)
    with telling_of_a_change():
        print_task(task)


@tasks.command("remove-negatives")
def remove_negatives(
    task_id: TaskId,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[N...]", min=0, help="Their numbers.", show_default="those that it has are listed"),
    ] = None,
    url: Url = LOCAL,
) -> None:
    """Remove examples of none of a task's classes, or list their numbers."""
    with server(url) as client:
        task_id, there = full_id(client, task_id), client.negatives(full_id(client, task_id))
        numbers = list(dict.fromkeys(numbers or []))
        for number in numbers:  # all are there before one is removed
            if number not in there:
                fail(f"the task has no negative {number}, it has {', '.join(map(str, there)) or 'none'}")
        one_by_one(numbers, lambda number: client.remove_negative(task_id, number))
    with telling_of_a_change():
        for number in there:
            if number not in numbers:
                typer.echo(number)


@tasks.command("relabel")
def relabel(
    task_id: TaskId,
    number: Index,
    label: Annotated[str, typer.Argument(help="Its class from now on; it may be a new one.")],
    url: Url = LOCAL,
) -> None:
    """Give an example another label; the task adapts again."""
    with server(url) as client:
        task = client.relabel_example(full_id(client, task_id), number, label)
    with telling_of_a_change():
        print_task(task)
