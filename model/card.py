"""What is said of a trained model: how it was made and, from its own evaluation, how good it is."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import write_whole
from model.evaluate import Row

LIMITS = (
    "Made for single drawn characters or symbols, one to a picture, on a plain ground. It has seen "
    "strokes only: no photographs of objects, no filled shapes, no text lines. Size, position, "
    "polarity and colour are normalised away and cannot tell classes apart; orientation can. "
    "Trained on adults' drawings from one study."
)


def machine() -> dict[str, Any]:
    """Where a figure was measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(names)) or platform.machine()


def write_readme(folder: Path, name: str, version: str, card: dict[str, Any]) -> None:
    """`README.md` of a model folder, from the card in its `config.json`."""
    rows = [Row(**row) for row in card["validation"]]
    shape = card["shape"]
    lines = [
        f"# {name}",
        "",
        f"Version `{version}`, trained {card['date']}. Written by `leo train`.",
        "",
        f"- **Shape**: {shape['resolution']}x{shape['resolution']} input, F = {shape['feature_dim']}, "
        f"L = {shape['latent_dim']}, {shape['parameters']:,} parameters",
        f"- **Data**: {card['data']}, {card['training_classes']} training classes, each also turned by "
        "90, 180 and 270 degrees as classes of their own",
        f"- **Split**: by alphabet; validation, never trained on: {', '.join(card['validation_alphabets'])}",
        f"- **Command**: `{card['command']}`",
        f"- **Seed**: {card['seed']}",
        f"- **Time**: {card['seconds'] / 60:.0f} minutes on {card['machine']['cores']} cores "
        f"({card['machine']['gpu'] or card['machine']['processor']}), torch {card['machine']['torch']}",
        "- **License**: the weights are MIT; Omniglot is MIT (Brenden Lake)",
        "",
        "Validation alphabets, unturned; 95 % intervals:",
        "",
        "| way | shot | queries a class | episodes | inner steps | accuracy |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r.way} | {r.shot} | {r.query} | {r.episodes} | {r.inner_steps} | "
            f"{100 * r.accuracy:.2f} ± {100 * r.ci95:.2f} % |"
            for r in rows
        ),
        "",
        f"**Limits.** {LIMITS}",
        "",
    ]
    write_whole(folder / "README.md", "\n".join(lines).encode())
