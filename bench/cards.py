"""The tables of the shipped models' accuracy, from their cards."""

from typing import Any

from bench.common import DRAWING_MODELS, PHOTO_MODELS, read_results
from bench.tables import header, validation

WAYS = 5


def drawings() -> list[str]:
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


def photos() -> list[str]:
    """The models for photos beside the best of what people use instead, on classes they have not seen."""
    measured = {name: validation(name) for name in PHOTO_MODELS}
    columns = {}
    for name, found in measured.items():
        for source in found["sources"]:
            by_shot = {row["shot"]: row["methods"] for row in source["rows"] if row["way"] == WAYS}
            if by_shot:
                columns[f"{name}, {source['source'].removesuffix('.zip')}"] = by_shot
    lines = header(f"photos, {WAYS} ways, %", list(columns))
    for shot in next(iter(columns.values())):
        cells = [beside_the_best(by_shot[shot]) if shot in by_shot else "" for by_shot in columns.values()]
        lines.append(f"| {shot}-shot | " + " | ".join(cells) + " |")
    tasks = ", ".join(f"{name} {found['episodes']} tasks" for name, found in measured.items())
    return [
        *lines,
        "",
        f"Validation classes, {tasks}; in brackets LEO's accuracy less that of the best of "
        "cosine prototypes, nearest neighbour and a logistic head on the same tasks and the backbone's own features, "
        f"first and last on centred ones too. From the models' cards ({measured[PHOTO_MODELS[0]]['date']}).",
    ]


def beside_the_best(methods: list[dict[str, Any]]) -> str:
    """The first method's accuracy, and in brackets its lead over the best that is no LEO."""
    first = methods[0]
    best = max((each for each in methods if not each["method"].startswith("LEO")), key=lambda each: each["accuracy"])
    lead, ci95 = -100 * best["difference"], 100 * best["difference_ci95"]
    return f"{100 * first['accuracy']:.2f} ({lead:+.2f} ± {ci95:.2f})"


def photos_held_out() -> list[str]:
    """LEO for photos on a source that was left out of its training, by backbone."""
    found = read_results("photos_held_out")
    shots = [row["shot"] for row in found["models"][0]["sources"][0]["rows"]]
    titles = [f"{shot}-shot" for shot in shots]
    lines = header("a source of photos left out, 5 ways, %", ["source", "ms an image", *titles])
    for model in found["models"]:
        for source in model["sources"]:
            cells = []
            for row in source["rows"]:
                (_, leo), (_, no_steps), *others = row["methods"].items()
                best = max((each for _, each in others), key=lambda each: each["accuracy"])
                lead, ci95, steps = (
                    -100 * best["difference"],
                    100 * best["difference_ci95"],
                    -100 * no_steps["difference"],
                )
                cells.append(f"{100 * leo['accuracy']:.2f} ({lead:+.2f} ± {ci95:.2f}; steps {steps:+.2f})")
            name = source["source"].removesuffix(".zip")
            lines.append(f"| {model['backbone']} | {name} | {model['ms_an_image']:.1f} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{found['episodes']} tasks each, the same for all backbones; in brackets LEO's accuracy less that of the best "
        "of prototypes, centred or not, and a logistic head on the backbone's own features, and what LEO's steps add. "
        "LEO's parts were set from the other sources' classes. Milliseconds are those of one core "
        f"({found['date']}: `python -m bench.photos_held_out`).",
        "",
        "![Accuracy on a source left out against milliseconds](photos-held-out.png)",
    ]
