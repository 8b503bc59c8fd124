"""Results files, written with date and machine, and the median time of a call."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.evaluation.provenance import machine, today

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
WEIGHTS = ROOT / "weights"
DRAWING_MODELS = ("omniglot", "omniglot-105")
PHOTO_MODELS = ("photos-lite0", "photos-large")


def read_results(name: str) -> dict[str, Any]:
    """A results file; empty where there is none yet."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def rows_measured_before(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an interrupted run with the same settings on this machine; none where there was no such run."""
    found = read_results(name)
    same = found and found["machine"] == machine() and all(found.get(key) == settings[key] for key in settings)
    rows: list[dict[str, Any]] = found["rows"] if same else []
    return rows


def write_results(name: str, what: str, **figures: Any) -> None:
    """Replace a results file; `what` says in a line what was measured."""
    replace_results(name, {"what": what, "date": today(), "machine": machine(), **figures})


def write_validation_results(name: str, what: str, rows: list[dict[str, Any]], episodes: int, **figures: Any) -> None:
    """Replace a results file whose rows were measured on so many tasks each from the validation alphabets."""
    write_results(name, what, **figures, split="validation alphabets", episodes=episodes, rows=rows)


def write_section(name: str, section: str, figures: dict[str, Any]) -> None:
    """Replace one section of a results file, which has a date and a machine of its own."""
    replace_results(name, read_results(name) | {section: {"date": today(), "machine": machine(), **figures}})
    print(section, json.dumps(figures, indent=2), flush=True)


def replace_results(name: str, results: dict[str, Any]) -> None:
    """Write a whole results file as it is."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")


def median_ms(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Median milliseconds of a call that is made again and again, after a warm-up."""
    for _ in range(3):
        call()
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 5:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(took), 4)
