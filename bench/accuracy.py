"""Writes the tables of docs/accuracy.md from results files, so that none is typed in.

python -m bench.accuracy
"""

from itertools import groupby
from typing import Any

from bench import (
    cards,
    drawing_curvature,
    drawing_phis,
    drawing_phis_longer,
    drawing_splits,
    drawing_variants,
    drawing_views,
    known_tables,
    targets,
)
from bench.common import ROOT, read_results
from bench.tables import between_marks, header

DOCUMENT = ROOT / "docs" / "accuracy.md"


def tables() -> str:
    """Everything between the document's two marks: sections of tables."""
    kinds = ("compare", "compare-alphabet", "compare-gradient")
    sections = {
        "The shipped models": [
            cards.drawings(),
            drawing_variants.table(),
            targets.table(),
            targets.attempts(),
            cards.photos(),
            cards.photos_held_out(),
        ],
        "Pictures of other classes": [
            strangers_among_drawings(),
            strangers_among_photos(),
            known_tables.negatives(),
            known_tables.negatives_of_photos(),
            known_tables.thresholds(),
        ],
        "LEO beside other methods": [*map(compared, kinds)],
        "What each part contributes": [
            choices(),
            views(),
            views_of_queries(),
            drawing_curvature.table(),
            drawing_splits.table(),
            drawing_views.table(),
            drawing_phis.table(),
            drawing_phis_longer.table(),
        ],
        "Feature extractors": [extractors()],
        "Speed of training": [speed()],
    }
    parts = [part for title, section in sections.items() for part in ([f"## {title}"], *section)]
    return "\n\n".join("\n".join(part) for part in parts)


STRANGERS = (
    "foreign pictures that pass, %",
    "by `known`",
    "by the cosine to the nearest class mean",
    "by the confidence",
)
AT_DEFAULT = ("own rejected at `reject=0.05`", "foreign that pass then")


def strangers_among_drawings() -> list[str]:
    """How many drawings of other classes pass for one of a task's, by several scores."""
    found = read_results("known")["drawings"]
    lines = header(STRANGERS[0], [*STRANGERS[1:], *AT_DEFAULT])
    for row in found["rows"]:
        place = ", one alphabet" if row["within"] else ""
        lines.append(f"| {row['way']}-way {row['shot']}-shot{place} | " + " | ".join(_passed(row)) + " |")
    lost = {
        shot: [row["at_default"]["own_rejected"] for row in found["one_alphabet_left_out"] if row["shot"] == shot]
        for shot in (1, 5)
    }
    ranges = " and ".join(
        f"{100 * min(shares):.1f} to {100 * max(shares):.1f} % at {shot} shot{'s' * (shot > 1)}"
        for shot, shares in lost.items()
    )
    return [
        *lines,
        "",
        f"{found['rows'][0]['tasks']} tasks each, validation alphabets, 15 queries of each class and of each of "
        "five others; the first three columns where 5 % of the own are rejected. `known` was fitted on the same "
        f"alphabets. Fitted on four of them, it rejects {ranges} of the fifth's own drawings, by the alphabet, instead "
        f"of 5 % ({found['date']}: `python -m bench.known`).",
    ]


def strangers_among_photos() -> list[str]:
    """The same of photos, for each source."""
    found = read_results("known")["photos"]
    lines = header(STRANGERS[0].replace("pictures", "photos"), [*STRANGERS[1:], *AT_DEFAULT])
    sources = {name: rows for name, rows in found.items() if isinstance(rows, list)}
    for name, rows in sources.items():
        for row in rows:
            which = f"{name.removesuffix('.zip')}, {row['way']}-way {row['shot']}-shot"
            lines.append(f"| {which} | " + " | ".join(_passed(row)) + " |")
    return [
        *lines,
        "",
        f"{next(iter(sources.values()))[0]['tasks']} tasks each: validation classes of the sources that the model was "
        f"trained on, all classes of the others ({found['date']}: `python -m bench.known`).",
    ]


def _passed(row: dict[str, Any]) -> list[str]:
    """The cells of a row of strangers, in per cent."""
    shares = [row[score]["foreign_accepted"] for score in ("known", "mean_cosine", "probability")]
    shares += [row["at_default"][name] for name in ("own_rejected", "foreign_accepted")]
    return [f"{100 * share:.1f}" for share in shares]


def compared(name: str) -> list[str]:
    """Methods beside LEO: each's accuracy and, in brackets, how far LEO is ahead."""
    found = read_results(name)
    settings = [(way, shot) for way, shot in dict.fromkeys((row["way"], row["shot"]) for row in found["rows"])]
    of = {(row["method"], row["way"], row["shot"]): row for row in found["rows"]}
    first = found["rows"][0]
    lines = _head("classes from one alphabet, %" if first["within"] else "classes from anywhere, %", settings)
    for method in dict.fromkeys(row["method"] for row in found["rows"]):
        cells = []
        for setting in settings:
            row = of[(method, *setting)]
            lead = "" if method == first["method"] else f" ({_plus_minus(-row['difference'], row['difference_ci95'])})"
            cells.append(f"{100 * row['accuracy']:.2f}{lead}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{first['episodes']} tasks, {first['query']} queries a class; in brackets LEO's accuracy less the method's, "
        f"on the same tasks, 95 % interval. {_untold(found['rows'])}{_trained(found)} ({found['date']}, "
        f"{found['split']} alphabets, version {found['model_version']}).",
    ]


def _untold(rows: list[dict[str, Any]]) -> str:
    """Say in which kinds of tasks LEO is not clearly ahead of another method, and how many answers are right there."""
    others = [row for row in rows if not row["method"].startswith("LEO")]
    near = [row for row in others if row["difference"] + row["difference_ci95"] >= 0]
    if not near:
        return ""
    kinds = " and ".join(dict.fromkeys(f"{row['way']}-way {row['shot']}-shot" for row in near))
    least = min(100 * row["accuracy"] for row in near)
    return (
        f"So few tasks do not show that LEO is ahead of every method in {kinds}: those in question are right in at "
        f"least {least:.1f} %. "
    )


def _trained(found: dict[str, Any]) -> str:
    """Say for how long the gradient-based methods of a table were trained."""
    trained = found["baselines"]
    of_each = trained.get("steps") or dict.fromkeys(("MAML", "Meta-SGD", "ANIL"), trained["budget"]["steps"])
    methods = [method for method in of_each if any(row["method"] == method for row in found["rows"])]
    learned = " and ".join(
        f"{', '.join(alike)} for {steps:,} steps"
        for steps, alike in groupby(methods, key=lambda method: of_each[method])
    )
    return (
        "Gradient-based methods start from LEO's own feature extractor and learn more, "
        f"{trained['budget']['images_per_step']} images a step: {learned}"
    )


def choices() -> list[str]:
    """The ablation."""
    found = read_results("ablation")
    lines: list[str] = []
    for name, several in groupby(found["rows"], key=lambda row: row["choice"]):
        rows = list(several)
        if not lines:
            settings = [(row["way"], row["shot"], ", one alphabet" if row["within"] else "") for row in rows]
            steps = [(way, shot, f"{within}: gain by the steps") for way, shot, within in settings if within]
            lines = _head("what differs, accuracy in %", [*settings, *steps])
        cells = []
        for row in rows:
            against = row["against_first"]
            apart = "" if name == found["rows"][0]["choice"] else f" ({_plus_minus(against['mean'], against['ci95'])})"
            cells.append(f"{100 * row['accuracy']['mean']:.2f}{apart}")
        gains = [row["steps_gain"] for row in rows if row["within"]]
        cells += [_plus_minus(gain["mean"], gain["ci95"]) for gain in gains]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"Each meta-trained alike for {found['training_steps']} steps on the features of the shipped "
        f"`{found['model']}`, whose feature extractor stays as it is; {found['episodes']} tasks; in brackets the "
        f"difference to the first row, on the same tasks, 95 % interval; then what the inner steps add, in points "
        f"({found['date']}, version {found['model_version']}).",
    ]


def views() -> list[str]:
    """Views of the support, and the temperature of the inner loop."""
    found = read_results("support_views")
    lines: list[str] = []
    for choice, several in groupby(found["rows"], key=lambda row: (row["views"], row["inner_temperature"])):
        rows = list(several)
        if not lines:
            settings = [
                f"{row['way']}-way {row['shot']}-shot{', one alphabet' if row['within'] else ''}" for row in rows
            ]
            lines = header("views", ["inner temperature", "ms a task", *settings])
        cells = []
        for row in rows:
            against = row["against_first"]
            apart = "" if row in found["rows"][: len(rows)] else f" ({_plus_minus(against['mean'], against['ci95'])})"
            cells.append(f"{100 * row['accuracy']['mean']:.2f}{apart}")
        lines.append(f"| {choice[0]} | {choice[1]:g} | {rows[0]['milliseconds']:.1f} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"The shipped `{found['model']}` with other settings, on {found['split']}; {found['episodes']} tasks; in "
        "brackets the difference to the first row, on the same tasks, 95 % interval. Milliseconds are the engine's for "
        f"a 5-way 1-shot task, all rows in turn on a machine with other work ({found['date']}, version "
        f"{found['model_version']}).",
    ]


def views_of_queries() -> list[str]:
    """Views of the queries, which the service does not take."""
    found = read_results("query_views")
    lines: list[str] = []
    for number, several in groupby(found["rows"], key=lambda row: row["views"]):
        rows = list(several)
        if not lines:
            settings = [(row["way"], row["shot"], ", one alphabet" if row["within"] else "") for row in rows]
            lines = _head("views of a query", settings)
        cells = []
        for row in rows:
            against = row["against_first"]
            apart = "" if number == 1 else f" ({_plus_minus(against['mean'], against['ci95'])})"
            cells.append(f"{100 * row['accuracy']['mean']:.2f}{apart}")
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"The shipped `{found['model']}`, with queries averaged over several views as the support is, on "
        f"{found['split']}; {found['episodes']} tasks; in brackets the difference to the first row, on the same tasks, "
        f"95 % interval ({found['date']}, version {found['model_version']}).",
    ]


def extractors() -> list[str]:
    """The table of the feature extractors that were tried."""
    found = read_results("phi_search")
    labels = list(found["rows"][0]["accuracy"])
    lines = header("feature extractor", ["views", "ms an image", *(f"{label}, %" for label in labels)])
    for row in found["rows"]:
        cells = [
            f"{100 * row['accuracy'][label]['mean']:.2f} ± {100 * row['accuracy'][label]['ci95']:.2f}"
            for label in labels
        ]
        views = max(1, len(row["view_angles"]))
        lines.append(f"| {row['phi']} | {views} | {row['milliseconds']:.2f} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['training_images']:,} drawings to learn from for each, far fewer than the shipped model had; class "
        f"means, {found['episodes']} tasks; milliseconds on one thread, taking turns ({found['date']}).",
        "",
        "![Accuracy against milliseconds](../bench/results/phi_search.png)",
    ]


def speed() -> list[str]:
    """How fast meta-training is."""
    found = read_results("training")
    names = list(found["models"])
    lines = header("meta-training", names)
    for key, title in (
        ("images_per_second", "images a second"),
        ("convolutions_images_per_second", "images a second, the convolutions alone"),
        ("seconds_for_the_budget", f"seconds for {found['budget']:,} 5-way 1-shot tasks"),
        ("peak_resident_mb", "memory, MB"),
    ):
        lines.append(f"| {title} | " + " | ".join(f"{found['models'][name][key]:,.0f}" for name in names) + " |")
    machine = found["machine"]
    return [*lines, "", f"{machine['processor']}, {machine['cores']} cores, {found['date']}: `make bench-training`."]


def _head(first: str, settings: list[tuple[Any, ...]]) -> list[str]:
    titles = [f"{way}-way {shot}-shot{''.join(more)}" for way, shot, *more in settings]
    return header(first, titles)


def _plus_minus(mean: float, ci95: float) -> str:
    return f"{100 * mean:+.2f} ± {100 * ci95:.2f}"


def written(document: str) -> str:
    """The document with its tables brought up to date."""
    return between_marks(document, tables())


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
