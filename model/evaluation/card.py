"""What is said of a trained model: how it was made and, from its own evaluation, how good it is."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import inference_state, write_whole
from model.evaluation.accuracy import Pictures, Setting, feasible_settings
from model.evaluation.sweep import Evaluation
from model.leo import LatentEmbeddingOptimization

LIMITS = (
    "Made for single drawn characters or symbols, one to a picture, on a plain ground. It has seen "
    "strokes only: no photographs of objects, no filled shapes, no text lines. Size, position, "
    "polarity and colour are normalised away and cannot tell classes apart; orientation can. "
    "Trained on adults' drawings from one study."
)


#: What a card says of a model: random classes, and the harder ones of a single alphabet.
SETTINGS = (
    *(Setting(way, (shot, shot), 15) for way in (5, 20) for shot in (1, 5)),
    *(Setting(20, (shot, shot), min(15, 20 - shot), "alphabet") for shot in (1, 5, 10)),
)
EPISODES = 2000


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


def shape_of(leo: LatentEmbeddingOptimization) -> dict[str, Any]:
    """A model in numbers; parameters are those in its folder."""
    config = leo.config
    own = inference_state(leo)
    shape = {
        "resolution": config.resolution,
        "feature_dim": config.feature_dim,
        "latent_dim": config.latent_dim,
        "parameters": sum(p.numel() for n, p in leo.named_parameters() if n in own),
    }
    if config.pretrained is None:
        return shape
    trained = sum(p.numel() for p in leo.parameters() if p.requires_grad)
    return shape | {"backbone": config.backbone, "backbone_sha256": config.backbone_sha256, "trained": trained}


def validate(leo: LatentEmbeddingOptimization, validation: Pictures, episodes: int = EPISODES) -> dict[str, Any]:
    """The figures of a card: accuracy with and without inner steps, on the same tasks, calibration and strangers."""
    evaluation = Evaluation(leo, validation, episodes)
    for setting in feasible_settings(evaluation.extracted, SETTINGS):
        evaluation.add(setting, (0, leo.config.inner_steps))
    found = evaluation.as_dict()
    return {
        "date": today(),
        "machine": machine(),
        "episodes": episodes,
        "rows": [row.as_dict() for row in evaluation.rows],
        "differences": found["differences"],
    }


def table(validation: dict[str, Any]) -> list[str]:
    """Lines of Markdown for what `validate` found."""
    with_steps, without = validation["rows"][1::2], validation["rows"][::2]
    lines = [
        "| way | shot | classes from | accuracy, % | without steps, % | what the steps add | ECE, % | AUROC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, start, gain in zip(with_steps, without, validation["differences"], strict=True):
        auroc = "-" if row["auroc"] is None else f"{row['auroc']:.3f}"
        lines.append(
            f"| {row['way']} | {row['shot']} | {'one alphabet' if row['within'] else 'anywhere'} | "
            f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} | "
            f"{100 * start['accuracy']:.2f} ± {100 * start['ci95']:.2f} | "
            f"{100 * gain['difference']:+.2f} ± {100 * gain['ci95']:.2f} | {100 * row['ece']:.1f} | {auroc} |"
        )
    return lines


def write_readme(folder: Path, name: str, version: str, card: dict[str, Any]) -> None:
    """`README.md` of a model folder, from the card in its `config.json`."""
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
        f"Validation alphabets, unturned, {card['validation']['episodes']} tasks a row, 15 queries a class (10 at 10 "
        "shots), 95 % intervals; what the steps add is paired, on the same tasks. ECE: expected calibration error "
        "of the probabilities. AUROC: queries told from those of five classes outside the task.",
        "",
        *table(card["validation"]),
        "",
        f"The table again, from these weights: `leo card --model weights/{name} --data {card['data']}`",
        "",
        f"**Limits.** {LIMITS}",
        "",
    ]
    write_whole(folder / "README.md", "\n".join(lines).encode())
