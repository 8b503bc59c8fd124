"""Tables of what helps `known`: negatives of a task, and thresholds of its own."""

from itertools import groupby
from typing import Any

from bench.common import read_results
from bench.tables import header

PHOTO_MODELS = ("photos-lite0", "photos-large")


def negatives() -> list[str]:
    """How many foreign pictures pass where the task has negatives."""
    found = read_results("known")
    drawings = found["negatives_of_drawings"]
    choices = dict.fromkeys((row["negatives"], row["of"]) for row in drawings["rows"])
    names = [f"{count} of {kind}" if count else "no negatives" for count, kind in choices]
    lines = header("foreign drawings that pass, %", names)
    for (way, shot, within), several in groupby(drawings["rows"], key=_kind):
        place = ", one alphabet" if within else ""
        cells = [_passed_and_lost(row) for row in several]
        lines.append(f"| {way}-way {shot}-shot{place} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{drawings['rows'][0]['tasks']} tasks each, validation classes, where 5 % of the own are rejected; in "
        "brackets the own that are rejected at `reject=0.05`. Negatives are other drawings of the foreign classes that "
        f"are asked about, or drawings of other classes ({drawings['date']}: `python -m bench.negatives`).",
    ]


def negatives_of_photos() -> list[str]:
    """How many foreign photos pass where the task has negatives, and own ones are lost."""
    found = read_results("known")
    models = [model for model in PHOTO_MODELS if f"negatives_of_{model}" in found]
    lines = header(
        "foreign photos that pass, %", ["no negatives", "1 photo of each", "2", "5", "the negatives themselves"]
    )
    for model in models:
        measured = found[f"negatives_of_{model}"]
        for source, rows in measured["sources"].items():
            for (way, shot, _), several in groupby(rows, key=_kind):
                every = [row for row in several if row["of"] != "other classes"]
                cells = [_at_default(row) for row in every] + [f"{100 * every[-1]['negatives_accepted']:.1f}"]
                kind = f"{model}, {source.removesuffix('.zip')}, {way}-way {shot}-shot"
                lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{rows[0]['tasks']} tasks each, at `reject=0.05`; in brackets the own that are rejected. Of up to five "
        "foreign classes some photos are negatives and others asked about. Of groceries and Caltech-101 the classes "
        f"are those of validation ({measured['date']}: `python -m bench.negatives`).",
        "",
        *header(
            "a source left out, foreign photos that pass, %",
            ["no negatives", "numbers chosen on the others", "as shipped"],
        ),
    ]
    for model in models:
        for row in found[f"negatives_of_{model}"]["left_out"]:
            cells = [
                f"{100 * row[name]['foreign_accepted']:.1f} ({100 * row[name]['own_rejected']:.1f})"
                for name in ("without", "chosen_on_others", "shipped")
            ]
            lines.append(f"| {model}, {row['source'].removesuffix('.zip')} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "The same with 1 or 4 photos of one foreign class, and 1, 2 or 5 of each of five, in turn; in brackets the own "
        "that are rejected. Both models have the same numbers, which are chosen on the other sources of both.",
    ]


def _at_default(row: dict[str, Any]) -> str:
    at_default = row["at_default"]
    return f"{100 * at_default['foreign_accepted']:.1f} ({100 * at_default['own_rejected']:.1f})"


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
