"""Writes the tables of docs/photos.md from results files, so that none is typed in.

python -m bench.photos_tables
"""

import math
from typing import Any

from bench.common import ROOT, read_results
from bench.tables import between_marks, header

DOCUMENT = ROOT / "docs" / "photos.md"
SHOTS = (1, 5, 10)
SHORT = {
    "clip-vit-b16": "CLIP alone",
    "efficientnet-lite0": "photos-lite0",
    "efficientnet-lite0+clip-vit-b16": "photos-large",
}


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
    accuracies, leads, gains = [], [], []
    for row in rows:
        (_, leo), (_, no_steps), *others = row["methods"].items()
        best = max((each for _, each in others), key=lambda each: each["accuracy"])
        accuracies.append(leo["accuracy"])
        leads.append((-best["difference"], best["difference_ci95"]))
        gains.append((-no_steps["difference"], no_steps["difference_ci95"]))
    return f"{100 * sum(accuracies) / len(rows):.2f} ({_mean(leads)}; steps {_mean(gains)})"


def _mean(pairs: list[tuple[float, float]]) -> str:
    """The mean of independent figures with intervals."""
    mean = sum(value for value, _ in pairs) / len(pairs)
    return _signed(mean, math.sqrt(sum(ci95**2 for _, ci95 in pairs)) / len(pairs))


def _signed(value: float, ci95: float) -> str:
    return f"{100 * value:+.2f} ± {100 * ci95:.2f}"


def written(document: str) -> str:
    """The document with its tables brought up to date."""
    for part in (left_out, steps, confidence):
        document = between_marks(document, "\n".join(part()), part.__name__)
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
