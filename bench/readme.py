"""Writes the README's tables from results files and model cards, so that no figure is typed in."""

import json
from collections.abc import Sequence
from typing import Any

from bench.common import DRAWING_MODELS, ROOT, WEIGHTS, read_results


def figures() -> str:
    """The tables between the README's two marks."""
    return "\n".join(accuracy() + latency() + throughput() + photos())


def accuracy() -> list[str]:
    """Accuracy of the models for drawings, and what the inner steps add to it."""
    lines = header("accuracy on validation alphabets, %", DRAWING_MODELS)
    measured = [validation(name) for name in DRAWING_MODELS]
    for rows, gains in zip(
        zip(*(found["rows"][1::2] for found in measured), strict=True),
        zip(*(found["differences"] for found in measured), strict=True),
        strict=True,
    ):
        cells = [
            f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} "
            f"({100 * gain['difference']:+.2f} ± {100 * gain['ci95']:.2f})"
            for row, gain in zip(rows, gains, strict=True)
        ]
        first = rows[0]
        place = ", one alphabet" if first["within"] else ""
        lines.append(f"| {first['way']}-way {first['shot']}-shot{place} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{measured[0]['episodes']} tasks each, 95 % intervals; in brackets what the five latent steps add, paired on "
        f"the same tasks. From the models' cards ({measured[0]['date']}): `leo card`.",
    ]


def latency() -> list[str]:
    """How long one client waits."""
    results = read_results("latency")
    lines = ["", *header("median milliseconds over HTTP, one client, CPU", DRAWING_MODELS)]
    calls = {"create_5way_1shot_ms": "create a 5-way 1-shot task", "predict_1image_ms": "predict one image"}
    for key, title in calls.items():
        medians = [f"{results['models'][name][key]['p50_ms']:.1f}" for name in DRAWING_MODELS]
        lines.append(f"| {title} | " + " | ".join(medians) + " |")
    machine = results["machine"]
    return [*lines, "", f"{machine['processor']}, {machine['cores']} cores, {results['date']}: `make bench`."]


def throughput() -> list[str]:
    """Requests a second beside what else could serve the model."""
    results = read_results("engine")
    models = [results["models"][name] for name in DRAWING_MODELS]
    lines = ["", *header("requests a second, 32 clients, CPU", DRAWING_MODELS)]
    for name, title in (("predict", "predict one image"), ("create", "create a 5-way 1-shot task")):
        for what, who in (("ours", "here"), ("litserve", "LitServe"), ("plain", "plain FastAPI, autograd")):
            if name in models[0]["compare"][what]:
                rates = [best(model["compare"], what, name) for model in models]
                lines.append(f"| {title}, {who} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |")
        shares = [model["ratios"][f"{name}_share_of_limit_by_processes"] for model in models]
        lines.append("| of what the machine can do | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    machine = results["machine"]
    lines += [
        "",
        "Here: as it is installed, a worker process for each core. LitServe: the better of one worker and one for each "
        "core. What the machine can do: 1/(1/a + 1/b), a what decoding and the model do, b what a FastAPI handler "
        "without a model answers, each with a process for each core and with nothing else to do. "
        f"{machine['processor']}, {machine['cores']} cores shared with the load generator, {results['date']}: "
        "`make bench-engine`.",
    ]
    return lines


def best(found: dict[str, Any], what: str, name: str) -> float:
    """Requests a second with one process or, where that is more, with several."""
    return max(found[each][name]["clients_32"]["per_second"] for each in (what, f"{what}_together") if each in found)


def photos() -> list[str]:
    """LEO for photos beside the best of what people use instead, on classes it has not seen and on a foreign set."""
    measured = validation("photos-lite0")
    shift = read_results("photos_shift")
    foreign: dict[int, list[dict[str, Any]]] = {}
    for row in shift["rows"]:
        foreign.setdefault(row["shot"], []).append(row)
    names = [source["source"].removesuffix(".zip") for source in measured["sources"]]
    lines = ["", *header("photos, 5 ways, %", [*names, f"{shift['data'].removesuffix('.zip')}, foreign"])]
    for shot, others in foreign.items():
        rows = [
            next(row for row in source["rows"] if (row["way"], row["shot"]) == (5, shot))
            for source in measured["sources"]
        ]
        cells = [beside_the_best(methods) for methods in [*(row["methods"] for row in rows), others]]
        lines.append(f"| {shot}-shot | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{measured['episodes']} tasks each, validation classes; in brackets LEO's accuracy less that of the best of "
        "cosine prototypes, nearest neighbour and a logistic head on the same tasks and the backbone's own features, "
        "first and last on centred ones too. Foreign: LEO trained "
        f"on the other set alone, all classes ({measured['date']}: `leo card`, `leo compare`).",
    ]
    return lines


def beside_the_best(methods: list[dict[str, Any]]) -> str:
    """The first method's accuracy, and in brackets its lead over the best that is no LEO."""
    first = methods[0]
    best = max((each for each in methods if not each["method"].startswith("LEO")), key=lambda each: each["accuracy"])
    lead, ci95 = -100 * best["difference"], 100 * best["difference_ci95"]
    return f"{100 * first['accuracy']:.2f} ({lead:+.2f} ± {ci95:.2f})"


def validation(model: str) -> dict[str, Any]:
    """What a model's card says of its accuracy."""
    found: dict[str, Any] = json.loads((WEIGHTS / model / "config.json").read_text())["card"]["validation"]
    return found


def header(first: str, others: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {first} | " + " | ".join(others) + " |", "|---|" + "---|" * len(others)]


def between_marks(document: str, figures: str, mark: str = "figures") -> str:
    """A document with what stands between its two marks replaced."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, rest = document.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{figures}\n{end}{after}"


def written(readme: str) -> str:
    """The README with its figures brought up to date."""
    return between_marks(readme, figures())


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(written(path.read_text()))
