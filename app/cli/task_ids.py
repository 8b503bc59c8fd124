"""Ids of tasks on the command line, which may be given by their beginning."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import fail

if TYPE_CHECKING:
    from leo_client import Client

ID_LENGTH = 24  # characters

TaskId = Annotated[str, typer.Argument(help="A task's id, or its beginning if no other task's begins so.")]


def full_id(client: "Client", given: str) -> str:
    """Return the id that begins with `given`; `given` itself if none of the caller's tasks has such an id."""
    if len(given) >= ID_LENGTH or not given:
        return given
    found = [task for task in client.tasks() if task.task_id.startswith(given)]
    if len(found) > 1:
        several = ", ".join(f"{task.task_id} ({task.name or 'no name'})" for task in found[:5])
        fail(f"{len(found)} tasks have ids that begin with {given}: {several}; give more of it")
    return found[0].task_id if found else given
