"""What all model cards share: a model's shape, tables of figures, and the page `README.md` that shows a card.

A card says how a model was trained and how accurate it is. It is kept in the model's `config.json`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from model.checkpoint import inference_state, write_whole
from model.leo import LatentEmbeddingOptimization

FOREIGN = "foreign_accepted"
MEANINGS = (
    "*ECE* (expected calibration error): how far confidences are from the share of right answers, on average. *AUROC*: "
    "how well pictures of the task's classes are told from those of five other classes; 1 is always, 0.5 is a guess."
)
FOREIGN_MEANS = (
    "*Foreign passed*: the share of pictures of those five classes that pass if 5 % of the task's own are rejected."
)


def shape_of(leo: LatentEmbeddingOptimization) -> dict[str, Any]:
    """Describe a model's shape. `parameters` counts those in its folder, so not those of a pretrained backbone."""
    config = leo.config
    stored = inference_state(leo)
    shape = {
        "resolution": config.resolution,
        "feature_dim": config.feature_dim,
        "latent_dim": config.latent_dim,
        "parameters": sum(p.numel() for n, p in leo.named_parameters() if n in stored),
    }
    if config.pretrained is None:
        return shape
    trained = sum(p.numel() for p in leo.parameters() if p.requires_grad)
    views = {} if config.support_views == 1 else {"support_views": config.support_views}
    return shape | {"backbone": config.backbone, "backbone_sha256": config.backbone_sha256, "trained": trained} | views


def percent(share: float, ci95: float) -> str:
    """Format an accuracy: 0.981, 0.002 -> 98.10 ± 0.20."""
    return f"{100 * share:.2f} ± {100 * ci95:.2f}"


def points(difference: float, ci95: float) -> str:
    """Format a difference of accuracies, in percentage points: 0.012, 0.002 -> +1.20 ± 0.20."""
    return f"{100 * difference:+.2f} ± {100 * ci95:.2f}"


def ece_and_auroc(row: dict[str, Any]) -> list[str]:
    """Format a row's calibration error, in per cent, and how well unknown classes are found out.

    That is the AUROC and, on cards that have it, the share of foreign queries that pass.
    """
    cells = [f"{100 * row['ece']:.1f}", "-" if row["auroc"] is None else f"{row['auroc']:.3f}"]
    if FOREIGN in row:
        cells.append("-" if row[FOREIGN] is None else f"{100 * row[FOREIGN]:.1f}")
    return cells


def meanings(rows: Sequence[dict[str, Any]]) -> str:
    """Say what the columns mean that `ece_and_auroc` fills."""
    return f"{MEANINGS} {FOREIGN_MEANS}" if FOREIGN in rows[0] else MEANINGS


def columns_of(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table's columns, of which `ece_and_auroc` fills the last."""
    return [*columns, *(["foreign passed, %"] if FOREIGN in rows[0] else [])]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [columns, *rows]
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return [head, "|---" * len(columns) + "|", *body]


def write_page(
    folder: Path,
    name: str,
    version: str,
    card: dict[str, Any],
    about: str,
    facts: dict[str, str],
    evaluation: list[str],
    limits: str,
) -> None:
    """Write `README.md` of a model folder.

    The page says what the model is for (`about`), `facts` about its training, the lines of its `evaluation`, and its
    `limits`.
    """
    lines = [
        f"# {name}",
        "",
        about,
        "",
        f"Version `{version}`, trained {card['date']}. Written by `leo train`.",
        "",
        *(f"- **{fact}**: {text}" for fact, text in facts.items()),
        "",
        *evaluation,
        f"**Limits.** {limits}",
        "",
    ]
    write_whole(folder / "README.md", "\n".join(lines).encode())
