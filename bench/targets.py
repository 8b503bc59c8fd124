"""What the default model aims at, beside what its card and results files say of it today."""

from typing import Any

from bench.common import read_results
from bench.tables import header, validation

Row = tuple[str, str, str]  # what is aimed at, the aim, and today's figure


def table() -> list[str]:
    """The aims of the default model on validation alphabets, and where it stands."""
    lines = header("what the default model aims at, validation alphabets", ["aim", "today"])
    lines += [f"| {what} | {aim} | {today} |" for what, aim, today in (*_of_accuracy(), *_of_steps(), *_of_strangers())]
    found = validation("omniglot")
    return [*lines, "", f"{found['episodes']} tasks each, 95 % intervals ({found['date']}: `leo card`, `bench.known`)."]


def _of_accuracy() -> list[Row]:
    rows = validation("omniglot")["rows"][1::2]
    aims = {(5, 1, None): 99.5, (20, 1, None): 98.1, (20, 5, None): 99.4, (20, 1, "alphabet"): 95.8}
    accuracies = [
        (f"{_kind(row)}, %", f"{aims[_key(row)]}", f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}")
        for row in rows
        if _key(row) in aims
    ]
    worst = max(rows, key=lambda row: row["ece"])
    return [*accuracies, ("calibration error of the worst row, %", "≤ 1", f"{100 * worst['ece']:.2f} ({_kind(worst)})")]


def _of_steps() -> list[Row]:
    aims = {(20, 1, "alphabet"): "+0.5", (20, 5, "alphabet"): "+1.5"}
    return [
        (
            f"what the steps add, {_kind(row)}",
            aims[_key(row)],
            f"{100 * row['difference']:+.2f} ± {100 * row['ci95']:.2f}",
        )
        for row in validation("omniglot")["differences"]
        if _key(row) in aims
    ]


def _of_strangers() -> list[Row]:
    aims = {(5, 1, None): 10, (5, 5, None): 5}
    return [
        (
            f"foreign drawings that pass, {_kind(row)}, %",
            f"≤ {aims[_key(row)]}",
            f"{100 * row['known']['foreign_accepted']:.1f}",
        )
        for row in read_results("known")["drawings"]["rows"]
        if _key(row) in aims
    ]


def _key(row: dict[str, Any]) -> tuple[int, int, str | None]:
    return row["way"], row["shot"], row["within"]


def _kind(row: dict[str, Any]) -> str:
    return f"{row['way']}-way {row['shot']}-shot" + (", one alphabet" if row["within"] else "")
