"""`leo tasks evaluate`: how right a task of a running server is on a folder of labelled pictures."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import note, print_table
from app.cli.options import Support
from app.cli.predictions import find_support
from app.cli.task_ids import TaskId, full_id
from app.cli.tasks import LOCAL, Url, naming_the_file, read_examples, server, tasks

if TYPE_CHECKING:
    from leo_client import Evaluation


@tasks.command("evaluate")
def evaluate(
    task_id: TaskId,
    pictures: Support,
    add: Annotated[bool, typer.Option("--add", help="Add the pictures that would teach the task most.")] = False,
    url: Url = LOCAL,
) -> None:
    """See how right a task is on a folder of labelled pictures.

    They should be no examples of the task. Nothing is stored on the
    server unless --add is given.
    """
    labels, files = find_support(pictures, min_classes=1)
    with server(url) as client:
        with naming_the_file(files):
            examples = read_examples(labels, files)
            found = client.evaluate(full_id(client, task_id), examples)
        _print(found)
        for wrong in found.wrong:
            worth = "; worth adding" if wrong.worth_adding else ""
            note(f"{files[wrong.index]} is taken for {wrong.answer} ({100 * wrong.confidence:.0f} %){worth}")
        chosen = [examples[wrong.index] for wrong in found.wrong if wrong.worth_adding]
        if add and chosen:
            client.add_support(full_id(client, task_id), chosen)
            note(f"added {len(chosen)} examples; others than these pictures show whether the task is better now")


def _print(found: "Evaluation") -> None:
    rows = [
        (
            each.label if each.is_class else f"{each.label} (not a class of the task)",
            each.taken_for or "",
            str(each.images),
            str(each.right),
            "" if each.recall is None else f"{100 * each.recall:.0f}",
            "" if each.precision is None else f"{100 * each.precision:.0f}",
        )
        for each in found.classes
    ]
    share = found.accuracy
    title = (
        f"{100 * share.value:.1f} % right ({100 * share.low:.1f} to {100 * share.high:.1f}), "
        f"calibration error {100 * found.ece:.1f} %"
    )
    print_table(
        ("class", "taken for", "pictures", "right", "recall, %", "precision, %"), rows, title=title, text_columns=2
    )
