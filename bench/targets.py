"""What the default model aims at, beside what its card and results files say of it today, and what was tried."""

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


def attempts() -> list[str]:
    """What was tried towards the default model's aims: how much more is right with it, and what the steps then add."""
    support, queries, variants, curvature = (
        read_results(name)["rows"] for name in ("support_views", "query_views", "drawing_variants", "drawing_curvature")
    )
    tried = {
        "5 views of the support and a softer loss, as shipped": (_views(support, 5), 1),
        "9 views of the support and a softer loss": (_views(support, 9), 1),
        "9 views of a query, beside 1": ([row for row in queries if row["views"] == 9], 1),
        "the present weights and inner loop, beside those before": (
            [row for row in variants if row["model"] == "before"],
            -1,  # they were compared with the present ones
        ),
        "gradients divided by the curvature, with the weights before": (
            [row for row in curvature if row["loop"] == curvature[-1]["loop"]],  # that which is shipped now
            1,
        ),
    }
    kinds = [_kind(row) for row in curvature if row["loop"] is None]
    lines = header("what was tried", [*kinds, "what the steps then add, 1 and 5 shots, one alphabet"])
    for name, (rows, sign) in tried.items():
        cells = [_signed(row["against_first"], sign) for row in rows]
        gains = ", ".join(_signed(row["steps_gain"]) for row in rows if row["within"] and "steps_gain" in row)
        lines.append(f"| {name} | " + " | ".join([*cells, gains if sign > 0 else _steps_of_first(variants)]) + " |")
    return [*lines, "", "Differences in points, on the same tasks; they are those of the tables below."]


def _views(rows: list[dict[str, Any]], views: int) -> list[dict[str, Any]]:
    return [row for row in rows if row["views"] == views and row["inner_temperature"] == 2.33]


def _steps_of_first(rows: list[dict[str, Any]]) -> str:
    first = [row for row in rows if row["model"] == rows[0]["model"]]
    return ", ".join(_signed(row["steps_gain"]) for row in first if row["within"])


def _signed(figure: dict[str, float], sign: int = 1) -> str:
    return f"{100 * sign * figure['mean']:+.2f} ± {100 * figure['ci95']:.2f}"


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
