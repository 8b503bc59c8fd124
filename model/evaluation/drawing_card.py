"""The card of a model of drawings: its figures on validation alphabets, and the page that shows them."""

from pathlib import Path
from typing import Any

from model.evaluation.accuracy import Setting, feasible_settings
from model.evaluation.extracted_features import Pictures
from model.evaluation.model_card import (
    columns_of,
    ece_and_auroc,
    markdown_table,
    meanings,
    percent,
    points,
    write_page,
)
from model.evaluation.provenance import machine, today
from model.evaluation.sweep import Sweep
from model.leo import LatentEmbeddingOptimization

ABOUT = (
    "A model of LEO for drawings. From a few drawings of each class, which it need not have seen before, it makes a "
    "classifier of these classes."
)
LIMITS = (
    "It is made for single drawn characters or symbols, one to a picture, on a plain ground. It has seen strokes only: "
    "no photos of things, no filled shapes, no lines of text. Classes may differ by shape, proportions and "
    "orientation, but not by size, position, colour, or whether the ink is dark or light: these are evened out. All "
    "training drawings are by adults who took part in one study."
)

#: The tasks on a card: classes from all alphabets, then the more difficult ones within one alphabet.
SETTINGS = (
    *(Setting(way, (shot, shot), 15) for way in (5, 20) for shot in (1, 5)),
    *(Setting(20, (shot, shot), min(15, 20 - shot), "alphabet") for shot in (1, 5, 10)),
)
EPISODES = 2000
COLUMNS = ("way", "shot", "classes from", "accuracy, %", "without steps, %", "gain by the steps", "ECE, %", "AUROC")


def measure_drawing_figures(
    leo: LatentEmbeddingOptimization, validation: Pictures, episodes: int = EPISODES
) -> dict[str, Any]:
    """Measure the figures of a card: accuracy with and without inner steps on the same tasks, calibration and AUROC.

    Settings that the data is too small for are left out. Raises `model.data.sources.DataError` if none is left.
    """
    sweep = Sweep(leo, validation, episodes)
    for setting in feasible_settings(sweep.extracted, SETTINGS):
        sweep.run(setting, (0, leo.config.inner_steps))
    return {
        "date": today(),
        "machine": machine(),
        "episodes": episodes,
        "rows": [row.as_dict() for row in sweep.rows],
        "differences": sweep.as_dict()["differences"],
    }


def write_drawing_card(folder: Path, name: str, version: str, card: dict[str, Any]) -> None:
    """Write `README.md` of a model folder from the card in its `config.json`."""
    shape, trained_on, validation = card["shape"], card["machine"], card["validation"]
    facts = {
        "Shape": f"drawings of {shape['resolution']}x{shape['resolution']} pixels, {shape['feature_dim']} features "
        f"(F), codes of {shape['latent_dim']} numbers (L), {shape['parameters']:,} parameters",
        "Data": f"{card['data']}, {card['training_classes']} training classes; each is also used turned by 90, 180 "
        "and 270 degrees, as three more classes",
        "Split": "by alphabet. These alphabets are for validation, and it was never trained on them: "
        + ", ".join(card["validation_alphabets"]),
        "Command": f"`{card['command']}`",
        **_teacher(card.get("teacher")),
        **({"Taught afterwards": card["taught_afterwards"]} if "taught_afterwards" in card else {}),
        **_set_after_training(card.get("after_training", {})),
        "Seed": str(card["seed"]),
        "Time": f"{card['seconds'] / 60:.0f} minutes on {trained_on['cores']} cores "
        f"({trained_on['gpu'] or trained_on['processor']}), torch {trained_on['torch']}",
        "License": "the weights are MIT; Omniglot is MIT (Brenden Lake)",
    }
    evaluation = [
        f"Measured on the validation alphabets, not turned: {validation['episodes']} tasks for each row, 15 queries a "
        "class (10 at 10 shots), 95 % intervals. *Gain by the steps*: how much more accurate the inner steps make the "
        f"answers, in percentage points, on the same tasks. {meanings(validation['rows'])}",
        "",
        *markdown_table(columns_of(COLUMNS, validation["rows"]), _table_rows(validation)),
        "",
        f"To measure the table again: `leo card --model weights/{name} --data {card['data']}`",
        "",
    ]
    write_page(folder, name, version, card, ABOUT, facts, evaluation, LIMITS)


def _teacher(teacher: dict[str, str] | None) -> dict[str, str]:
    return {} if teacher is None else {"Teacher": f"`{teacher['name']}`, version `{teacher['version']}`"}


def _set_after_training(changes: dict[str, float]) -> dict[str, str]:
    options = " ".join(f"--set {name}={value:g}" for name, value in changes.items())
    return {"Set after training": f"`leo card {options}`, which fitted the probabilities again"} if changes else {}


def _table_rows(validation: dict[str, Any]) -> list[list[str]]:
    """Format what `measure_drawing_figures` returns: a row for each setting."""
    without_steps, with_steps = validation["rows"][::2], validation["rows"][1::2]
    return [
        [
            str(row["way"]),
            str(row["shot"]),
            "one alphabet" if row["within"] else "all alphabets",
            percent(row["accuracy"], row["ci95"]),
            percent(start["accuracy"], start["ci95"]),
            points(gain["difference"], gain["ci95"]),
            *ece_and_auroc(row),
        ]
        for row, start, gain in zip(with_steps, without_steps, validation["differences"], strict=True)
    ]
