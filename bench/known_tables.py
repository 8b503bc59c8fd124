"""Tables of what helps `known`: negatives of a task, and thresholds of its own."""

from itertools import groupby
from typing import Any

from bench.common import read_results
from bench.tables import header


def negatives() -> list[str]:
    """How many foreign pictures pass where the task has negatives."""
    found = read_results("known")
    drawings = found["negatives_of_drawings"]
    of = {"": drawings["rows"]} | {
        f"{name.removesuffix('.zip')}, ": rows
        for name, rows in found["negatives_of_photos"].items()
        if isinstance(rows, list)
    }
    *_, of_photos = of.values()
    choices = dict.fromkeys((row["negatives"], row["of"]) for row in drawings["rows"])
    names = [f"{count} of {kind}" if count else "no negatives" for count, kind in choices]
    lines = header("foreign pictures that pass, %", names)
    for source, rows in of.items():
        for (way, shot, within), several in groupby(rows, key=_kind):
            place = ", one alphabet" if within else ""
            cells = [_passed_and_lost(row) for row in several]
            lines.append(f"| {source}{way}-way {shot}-shot{place} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{drawings['rows'][0]['tasks']} tasks each, of photos {of_photos[0]['tasks']}, validation classes, where 5 % "
        "of the own are rejected; in brackets the own that are rejected at `reject=0.05`. Negatives are other pictures "
        f"of the foreign classes that are asked about, or pictures of other classes ({drawings['date']}: "
        "`python -m bench.negatives`).",
    ]


def _kind(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["way"], row["shot"], row["within"]


def _passed_and_lost(row: dict[str, Any]) -> str:
    return f"{100 * row['foreign_accepted']:.1f} ({100 * row['at_default']['own_rejected']:.1f})"


def thresholds() -> list[str]:
    """Statistics of a task's support as a correction of its threshold, on alphabets left out of the fit."""
    found = read_results("task_thresholds")
    shots = list(dict.fromkeys(row["shot"] for row in found["rows"]))
    of = {(row["statistic"], row["shot"]): row for row in found["rows"]}
    names = [
        f"{name}, {shot}-shot" for shot in shots for name in ("correlation", "own lost, %", "foreign that pass, %")
    ]
    lines = header("threshold corrected by", names)
    for statistic in dict.fromkeys(row["statistic"] for row in found["rows"]):
        cells = [cell for shot in shots for cell in _corrected(of.get((statistic, shot)))]
        lines.append(f"| {statistic} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"5-way tasks, {found['tasks_of_each_alphabet']} of each of {found['alphabets']} validation alphabets, the "
        "threshold fitted on the others to lose 5 % of the own: least and most that are lost, by the alphabet, and the "
        "mean share of foreign drawings that pass. Correlations are with the score below which 5 % of a task's own "
        f"drawings lie ({found['date']}: `python -m bench.task_thresholds`).",
    ]


def _corrected(row: dict[str, Any] | None) -> list[str]:
    """The cells of one statistic at one number of shots."""
    if row is None:
        return ["", "", ""]
    lost, passed = row["own_rejected"], row["foreign_accepted"]
    return [
        "" if row["correlation"] is None else f"{row['correlation']:.2f}",
        f"{100 * min(lost):.1f} to {100 * max(lost):.1f}",
        f"{100 * sum(passed) / len(passed):.1f}",
    ]
