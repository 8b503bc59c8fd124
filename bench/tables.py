"""What every command that writes tables into a document needs, so that no figure is typed in."""

import json
from collections.abc import Sequence
from typing import Any

from bench.common import WEIGHTS


def validation(model: str) -> dict[str, Any]:
    """What a model's card says of its accuracy."""
    found: dict[str, Any] = json.loads((WEIGHTS / model / "config.json").read_text())["card"]["validation"]
    return found


def header(first: str, others: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {first} | " + " | ".join(others) + " |", "|---|" + "---|" * len(others)]


def where_and_when(results: dict[str, Any]) -> str:
    """The machine and the date of a results file."""
    machine = results["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, {results['date']}"


def between_marks(document: str, figures: str, mark: str = "figures") -> str:
    """A document with what stands between its two marks replaced."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, rest = document.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{figures}\n{end}{after}"
