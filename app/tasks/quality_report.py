"""Reports on the labels of a task's examples: the one that its record stores, and one on each example."""

from dataclasses import dataclass
from typing import Any

from app.tasks.examples import Examples
from model.evaluation.support_report import report_on_support

DECIMALS = 3  # keeps records small, since every prediction of a task that is not cached reads one


@dataclass(frozen=True)
class ExampleReport:
    """What the other examples say about an example's label."""

    index: int  # the example's number
    label: int  # its class
    nearest: int  # the other class that it is most similar to
    margin: float  # cosine to its own class minus cosine to the nearest
    suspect: bool  # whether it looks more like the nearest
    duplicates: list[int]  # numbers of examples of other classes that show nearly the same


def of_support(examples: Examples) -> tuple[dict[str, Any], float | None]:
    """Report on a support set, with classes as numbers; `app.http.responses.quality_to_dict` adds the labels.

    Returns its cohesion beside it.
    """
    support, numbers = examples.support, examples.numbers.tolist()
    found = report_on_support(support.of_pictures, support.labels)
    report = {
        "agreement": [None if share is None else round(share, DECIMALS) for share in found.agreement],
        "margin": [round(margin, DECIMALS) for margin in found.margin],
        "nearest": found.nearest,
        "suspects": [
            [numbers[each.index], int(support.labels[each.index]), each.looks_like, round(each.margin, DECIMALS)]
            for each in found.suspects
        ],
        "near_duplicates": [
            [numbers[each.first], numbers[each.second], round(each.similarity, DECIMALS)]
            for each in found.near_duplicates
        ],
    }
    return report, None if found.cohesion is None else round(found.cohesion, DECIMALS)


def of_examples(examples: Examples) -> list[ExampleReport]:
    """Report on each example, in their order."""
    support, numbers = examples.support, examples.numbers.tolist()
    found = report_on_support(support.of_pictures, support.labels)
    duplicates: dict[int, list[int]] = {number: [] for number in numbers}
    for each in found.near_duplicates:
        duplicates[numbers[each.first]].append(numbers[each.second])
        duplicates[numbers[each.second]].append(numbers[each.first])
    by_example = zip(numbers, support.labels.tolist(), found.rivals, found.margins, strict=True)
    # A class with a single example has no others to judge it by.
    return [
        ExampleReport(
            number,
            label,
            rival,
            round(margin, DECIMALS),
            margin <= 0 and found.agreement[label] is not None,
            duplicates[number],
        )
        for number, label, rival, margin in by_example
    ]
