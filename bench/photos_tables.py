"""Writes the tables of docs/photos.md from results files, so that none is typed in.

python -m bench.photos_tables
"""

import math
import statistics
from typing import Any

from bench import photos_distorted, photos_views, photos_views_cost
from bench.common import ROOT, read_results
from bench.tables import between_marks, header

DOCUMENT = ROOT / "docs" / "photos.md"
SHOTS = (1, 5, 10)
SHORT = {
    "clip-vit-b16": "CLIP alone",
    "efficientnet-lite0": "photos-lite0",
    "efficientnet-lite0+clip-vit-b16": "photos-large",
}


def aims() -> list[str]:
    """What the models aim at on sources left out, and where they stand."""
    held_out = {SHORT[each["backbone"]]: each for each in read_results("photos_held_out")["models"]}
    models = [held_out[name] for name in ("photos-lite0", "photos-large")]
    cost, rows = read_results("photos_cost")["served"], []
    rows.append(["least lead in a row over the best baseline", "≥ 0", *(_signed(*min(_leads(m))) for m in models)])
    rows.append(["lead over the best baseline, mean", "≥ +1.0", *(_mean(_leads(m)) for m in models)])
    for shot, aim in ((1, "≥ +0.3"), (5, "≥ +0.5")):
        gains = [_mean([_gain(row) for row in _rows(model, shot)]) for model in models]
        rows.append([f"what the steps add, {shot}-shot, mean", aim, *gains])
    for shot, aim in ((1, "≥ +2"), (5, "≥ +1")):
        small, large = (statistics.mean(_leo(row)["accuracy"] for row in _rows(model, shot)) for model in models)
        rows.append([f"beyond photos-lite0, {shot}-shot, mean", aim, "", f"{100 * (large - small):+.2f}"])
    rows.append(["calibration error at 1 shot, the worst source, %", "≤ 3", *map(_worst_calibration, models)])
    rate = statistics.median(cost["images_per_second"]["of_each_round"])
    rows.append(["images a second at 16 clients, two cores", "≥ 180", f"{rate:.0f}", ""])
    rows.append(["a prediction, ms", "≤ 12", f"{cost['predict_ms']['p50_ms']:.1f}", ""])
    rows.append(["a prediction of 12 megapixels, ms", "≤ 60", f"{cost['predict_large_ms']['p50_ms']:.1f}", ""])
    lines = header("5 ways, a source left out", ["aim", "photos-lite0", "photos-large"])
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [
        *lines,
        "",
        "Accuracies in points, with 95 % intervals: the tables below, and `python -m bench.photos_cost`.",
    ]


def _worst_calibration(model: dict[str, Any]) -> str:
    """The largest calibration error at one shot, and of which source."""
    found = {each["backbone"]: each for each in read_results("photos_confidence")["models"]}
    sources = found[model["backbone"]]["sources"]
    worst = max(sources, key=lambda source: source["rows"][0]["ece"])
    return f"{100 * worst['rows'][0]['ece']:.1f} ({worst['source'].removesuffix('.zip')})"


def left_out() -> list[str]:
    """LEO's accuracy on a source left out, its lead over the best baseline, and what its steps add."""
    found = read_results("photos_held_out")
    lines = header("a source left out, 5 ways, %", ["", *(f"{shot}-shot" for shot in SHOTS)])
    for model in found["models"]:
        name = SHORT.get(model["backbone"], model["backbone"])
        for source in model["sources"]:
            cells = [_cell([row]) for row in source["rows"]]
            lines.append(f"| {name} | {source['source'].removesuffix('.zip')} | " + " | ".join(cells) + " |")
        cells = [_cell(_rows(model, shot)) for shot in SHOTS]
        lines.append(f"| **{name}** | **mean** | " + " | ".join(f"**{cell}**" for cell in cells) + " |")
    return [
        *lines,
        "",
        f"{found['episodes']} tasks each, the same for all models; in brackets LEO's accuracy less that of the best "
        "of prototypes, centred or not, and a logistic head on the backbone's own features, and what LEO's steps add "
        f"to its class means, with 95 % intervals ({found['date']}: `python -m bench.photos_held_out`).",
    ]


def steps() -> list[str]:
    """The attempts to make the inner steps pay."""
    found = read_results("photos_steps")
    titles = [f"{shot}-shot: off, gain of steps, end less the first start" for shot in SHOTS]
    lines = header("start and steps, mean over sources left out", titles)
    for backbone in found["backbones"]:
        for attempt in backbone["attempts"]:
            cells = [
                f"{100 * row['off']:.2f}, {_signed(row['gain'], row['gain_ci95'])}, "
                f"{_signed(row['against_ridge'], row['against_ridge_ci95'])}"
                for row in attempt["mean"]
            ]
            lines.append(f"| {attempt['attempt']} | " + " | ".join(cells) + " |")
    first = found["backbones"][0]
    return [
        *lines,
        "",
        f"{first['episodes']} 5-way tasks of each of {len(first['attempts'][0]['sources'])} sources, "
        f"{first['backbone']} ({found['date']}: `python -m bench.photos_steps`).",
    ]


def confidence() -> list[str]:
    """How far probabilities are off, with one temperature for all tasks and with codes drawn together."""
    found = read_results("photos_confidence")
    lines = header("calibration error on a source left out, %", ["", *(f"{shot}-shot" for shot in SHOTS)])
    for model in found["models"]:
        for source in model["sources"]:
            cells = [f"{100 * row['ece']:.1f} ({100 * row['ece_plain']:.1f})" for row in source["rows"]]
            name = SHORT.get(model["backbone"], model["backbone"])
            lines.append(f"| {name} | {source['source'].removesuffix('.zip')} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['models'][0]['episodes']} 5-way tasks each; in brackets the error with one temperature for all tasks. "
        "The temperature was fitted on validation classes of the other sources "
        f"({found['date']}: `python -m bench.photos_confidence`).",
    ]


def _rows(model: dict[str, Any], shot: int) -> list[dict[str, Any]]:
    return [row for source in model["sources"] for row in source["rows"] if row["shot"] == shot]


def _cell(rows: list[dict[str, Any]]) -> str:
    """Accuracy, lead and gain of the steps, averaged over rows of different sources."""
    accuracy = statistics.mean(_leo(row)["accuracy"] for row in rows)
    return f"{100 * accuracy:.2f} ({_mean([_lead(row) for row in rows])}; steps {_mean([_gain(row) for row in rows])})"


def _leo(row: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = next(iter(row["methods"].values()))
    return found


def _lead(row: dict[str, Any]) -> tuple[float, float]:
    """LEO's lead over the best of the others, with its interval."""
    _, _, *others = row["methods"].values()
    best = max(others, key=lambda each: each["accuracy"])
    return -best["difference"], best["difference_ci95"]


def _leads(model: dict[str, Any]) -> list[tuple[float, float]]:
    return [_lead(row) for source in model["sources"] for row in source["rows"]]


def _gain(row: dict[str, Any]) -> tuple[float, float]:
    """What the steps add, with its interval."""
    _, no_steps, *_ = row["methods"].values()
    return -no_steps["difference"], no_steps["difference_ci95"]


def _mean(pairs: list[tuple[float, float]]) -> str:
    """The mean of independent figures with intervals."""
    mean = sum(value for value, _ in pairs) / len(pairs)
    return _signed(mean, math.sqrt(sum(ci95**2 for _, ci95 in pairs)) / len(pairs))


def _signed(value: float, ci95: float) -> str:
    return f"{100 * value:+.2f} ± {100 * ci95:.2f}"


def distorted() -> list[str]:
    """Accuracy where queries are distorted."""
    return photos_distorted.table()


def views() -> list[str]:
    """Inner loops over several views of each photo."""
    return photos_views.table()


def views_cost() -> list[str]:
    """What several views of each photo cost where a task is made."""
    return ["", photos_views_cost.sentence(), ""]


def written(document: str) -> str:
    """The document with its tables brought up to date."""
    for part in (aims, left_out, steps, views, views_cost, confidence, distorted):
        document = between_marks(document, "\n".join(part()), part.__name__)
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
